import { createHash } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { openRequest, responseTo } from '../../support/clients/http.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { manualUpstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

describe('a client that stops reading', () => {
  it.each(['text/event-stream', 'application/octet-stream'])(
    'backpressure: a client that stops reading holds the upstream back, and gets every byte later: %s',
    async (type) => {
      const total = 64 * 1024 * 1024;
      const chunk = Buffer.from(Array.from({ length: 64 * 1024 }, (_, i) => (i * 7919) % 251));
      const sent = createHash('sha256');
      const { url, requests } = await manualUpstream();
      const proxy = await proxyApp({ target: url });

      const req = openRequest(proxy.url);
      req.end();
      const { res } = await requests.next();
      res.writeHead(200, { 'content-type': type });
      let written = 0;
      const pump = (): void => {
        while (written < total) {
          chunk.writeUInt32BE(written, 0);
          sent.update(chunk);
          written += chunk.length;
          if (!res.write(Buffer.from(chunk))) {
            res.once('drain', pump);
            return;
          }
        }
        res.end();
      };
      pump();
      const response = await responseTo(req);

      // Nothing announces that no more is taken: it is when nothing has moved for a while.
      let before = -1;
      for (let still = 0; still < 5; ) {
        await new Promise((resolve) => setTimeout(resolve, 40));
        still = written === before ? still + 1 : 0;
        before = written;
      }
      expect(res.writableNeedDrain).toBe(true);
      expect(written).toBeLessThan(total / 2);

      const got = createHash('sha256');
      let size = 0;
      for await (const piece of response) {
        got.update(piece);
        size += piece.length;
      }
      expect(size).toBe(total);
      expect(got.digest('hex')).toBe(sent.digest('hex'));
      expect(await proxy.summary()).toMatchObject({ outcome: 'completed', bytes: total });
    },
    20_000,
  );
});
