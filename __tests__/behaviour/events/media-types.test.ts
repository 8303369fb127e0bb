/** Which responses are event streams, and which format they have, are two questions. */
import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { proxyIn, VERSIONS } from '../../support/servers/proxies.js';
import { upstream } from '../../support/servers/upstreams.js';
import { logbook } from '../../support/watch/log.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const LINES = '{"n":1}\n{"n":2}\n';
const NDJSON = [
  ...[
    'application/x-ndjson',
    'application/ndjson',
    'application/jsonl',
    'application/x-jsonl',
    'application/jsonlines',
  ],
  ...[
    'application/x-jsonlines',
    'application/json-lines',
    'application/stream+json',
    'Application/NDJSON; charset=utf-8',
  ],
];

describe.each(VERSIONS)('to a client of %s', (version) => {
  async function through(type: string | undefined, body: string, options: SseProxyOptions) {
    const { url } = await upstream((_req, res) => {
      if (type !== undefined) res.setHeader('content-type', type);
      res.write(body);
      res.end();
    });
    const { ask, summary } = await proxyIn(version, { target: url, ...options });
    const { text, cut } = await (await ask()).ended();
    expect(cut).toBe(false);
    const { outcome, events } = await summary();
    return { text, outcome, events };
  }

  it.each(NDJSON)('%s is a stream of JSON lines, without a word of it', async (type) => {
    const transformEvent: SseProxyOptions['transformEvent'] = ({ data }) => ({ data: data.replace('n', 'm') });
    expect(await through(type, LINES, { transformEvent })).toEqual({
      text: '{"m":1}\n{"m":2}\n',
      outcome: 'completed',
      events: 2,
    });
  });

  it.each([
    ['text/plain', LINES],
    ['text/plain', 'one line\nanother\n'],
    ['application/octet-stream', 'data: a\n\n'],
    [undefined, 'bytes'],
  ])('%s that `isEventStream` takes for a stream passes untouched, and that is logged', async (type, body) => {
    const { logger, errors } = logbook();
    const seen: unknown[] = [];
    const options: SseProxyOptions = {
      logger,
      isEventStream: () => true,
      transformEvent: () => null,
      onEvent: (event) => void seen.push(event),
      commit: 'first-event',
      heartbeat: { interval: 10 },
      truncation: 'event',
    };
    expect(await through(type, body, options)).toMatchObject({ text: body, outcome: 'completed' });
    expect(seen).toEqual([]);
    expect(errors).toEqual([expect.stringContaining('its media type')]);
  });

  it('a stream of an unknown format to a provider is not read for usage', async () => {
    const { logger } = logbook();
    const provider = openai({ apiKey: 'sk-1234567890' });
    const options = { provider, logger, isEventStream: () => true, onUsage: () => {} };
    expect(await through('text/plain', LINES, options)).toMatchObject({ text: LINES, outcome: 'completed' });
  });
});
