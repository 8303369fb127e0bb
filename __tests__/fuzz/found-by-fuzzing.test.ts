import { brotliCompressSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import type { Express } from 'express';
import { prepareRequestHeaders } from '../../lib/headers/request-passes.js';
import { readAll, readText, request } from '../support/clients/http.js';
import { requestWith } from '../support/servers/bare-http.js';
import { proxyApp } from '../support/servers/proxies.js';
import { answeringUpstream, upstream } from '../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';

closeAndWatchEachTest();

const EVENTS = 'data: 1\n\n';
const ABOUT_BYTES = ['etag', 'accept-ranges', 'content-digest', 'repr-digest', 'content-md5', 'digest'];
const allOf = (value: string): Record<string, string> => Object.fromEntries(ABOUT_BYTES.map((name) => [name, value]));
const digestsOf = (headers: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(ABOUT_BYTES.filter((name) => headers[name] !== undefined).map((name) => [name, headers[name]]));

/** An app that describes a body of its own, where the proxy's is to come. */
const describing = (app: Express): void => {
  app.use((_req, res, next) => {
    res.set({ 'content-digest': 'app', 'repr-digest': 'app', 'content-md5': 'app', digest: 'app' });
    next();
  });
};

describe('what the fuzzers have found', () => {
  it('found by fuzzing: what is about the very bytes does not describe a body that was decoded', async () => {
    const url = await answeringUpstream(gzipSync(EVENTS), { 'content-encoding': 'gzip', ...allOf('upstream') });
    const response = await request((await proxyApp({ target: url })).url);
    expect(await readText(response)).toBe(EVENTS);
    expect(digestsOf(response.headers)).toEqual({});
  });

  it("found by fuzzing: the app's digests do not describe a body that was edited", async () => {
    const url = await answeringUpstream(EVENTS);
    const proxy = await proxyApp({ target: url, transformEvent: () => ({ data: '2' }) }, describing);
    const response = await request(proxy.url);
    expect(await readText(response)).toBe('data: 2\n\n');
    expect(digestsOf(response.headers)).toEqual({});
  });

  it("found by fuzzing: the app's digests do not take the place of the upstream's", async () => {
    const url = await answeringUpstream(EVENTS, allOf('upstream'));
    const response = await request((await proxyApp({ target: url }, describing)).url);
    expect(await readText(response)).toBe(EVENTS);
    expect(digestsOf(response.headers)).toEqual(allOf('upstream'));
  });

  it('found by fuzzing: a header of several lines that Node does not join is removed where Connection names it', async () => {
    const req = await requestWith(['Connection: set-cookie', 'Set-Cookie: a=1', 'Set-Cookie: b=2', 'X-Kept: 1']);
    prepareRequestHeaders(req);
    expect(req.headers).toEqual({ host: 'proxy.example', 'x-kept': '1' });
  });

  it('found by fuzzing: content codings in several lines are one behind the other, as in one line, and are not undone', async () => {
    const coded = brotliCompressSync(gzipSync(EVENTS));
    const { url } = await upstream((_req, res) => {
      res.writeHead(200, ['Content-Type', 'text/event-stream', 'Content-Encoding', 'gzip', 'Content-Encoding', 'br']);
      res.end(coded);
    });
    const response = await request((await proxyApp({ target: url })).url);
    expect(await readAll(response)).toEqual(coded);
    expect(response.headers['content-encoding']).toBe('gzip, br');
  });
});
