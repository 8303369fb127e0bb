import { once } from 'node:events';
import { describe, expect, it } from '@jest/globals';
import type { SseProxyOptions, StreamEvent, Usage } from '../../../lib/index.js';
import { openaiCompatible } from '../../../lib/providers/index.js';
import { keepAliveAgent, openRequest, readText, responseTo } from '../../support/clients/http.js';
import { EVENTS, FAULTS, type FaultyUpstream, faultyUpstream, PHASES } from '../../support/servers/faulty-upstream.js';
import { connections } from '../../support/servers/listen.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { MATRIX, OUTCOMES } from '../../support/streams/fault-matrix.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { closed, turns, until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

// --- the matrix -------------------------------------------------------------------------------------------------------

const MODES = ['plain', 'observed', 'transformed'] as const;
type Mode = (typeof MODES)[number];

const CELLS = PHASES.flatMap((phase) => FAULTS.map((fault) => ({ phase, fault, cell: MATRIX[phase]?.[fault] })));
const IMPOSSIBLE = CELLS.filter(({ cell }) => cell !== undefined && 'impossible' in cell);
const CASES = CELLS.flatMap(({ phase, fault, cell }) =>
  cell === undefined || 'impossible' in cell ? [] : MODES.map((mode) => ({ phase, fault, mode, ...cell })),
);
type Case = (typeof CASES)[number];

describe('the matrix', () => {
  it('fault matrix: has every fault in every phase, and says why where there can be none', () => {
    for (const { phase, fault, cell } of CELLS)
      expect([phase, fault, cell]).toEqual([phase, fault, expect.any(Object)]);
    expect(CELLS).toHaveLength(72);
    expect(IMPOSSIBLE).toHaveLength(16);
    expect(CASES).toHaveLength(3 * 56);
  });
});

// --- one exchange -----------------------------------------------------------------------------------------------------

/** Only the deadline that is meant, so that no other can be taken for it. */
function timeoutsOf({ fault, phase, status }: Case): NonNullable<SseProxyOptions['timeouts']> {
  const off = { connect: false, headers: false, idle: false, drain: false } as const;
  if (fault !== 'stall') return off;
  if (phase === 'connect') return { ...off, connect: 30 };
  return status === 504 ? { ...off, headers: 30 } : { ...off, idle: 30 };
}

async function proxyTo({ url }: FaultyUpstream, test: Case) {
  const events: string[] = [];
  const usages: Usage[] = [];
  const options: Record<Mode, SseProxyOptions> = {
    plain: {},
    observed: {
      provider: openaiCompatible({ name: 'stand-in', target: url, apiKey: false }),
      onEvent: ({ data }) => void events.push(`data: ${data}\n\n`),
      onUsage: (usage) => void usages.push(usage),
    },
    transformed: { transformEvent: marked },
  };
  const proxy = await proxyApp(
    { target: url, secure: test.phase === 'connect', timeouts: timeoutsOf(test), ...options[test.mode] },
    (app) => app.get('/own', (_req, res) => res.send('own')),
  );
  return { proxy, events, usages };
}

/** What `transformEvent` makes of an event, so that one that was not transformed cannot be taken for one that was. */
function marked({ data }: Pick<StreamEvent, 'data'>): { data: string } {
  return { data: `<${data}>` };
}

/** What the client is to get of the bytes that the upstream has sent. */
function expectedBody(sent: Buffer, { mode, fault }: Case): Buffer {
  // Where an error event may follow, nothing but whole events goes before it: with a Content-Length none may.
  if (mode === 'observed' && fault !== 'short body') return Buffer.from(wholeEvents(sent).join(''));
  if (mode !== 'transformed') return sent;
  return Buffer.from(
    wholeEvents(sent)
      .map((event) => `data: ${marked({ data: event.slice(6, -2) }).data}\n\n`)
      .join(''),
  );
}

function wholeEvents(sent: Buffer): string[] {
  return EVENTS.filter((_event, i) => sent.length >= Buffer.byteLength(EVENTS.slice(0, i + 1).join('')));
}

/** More than an upstream that does not read can be sent. */
const LARGE = 16 * 1024 * 1024;

/** A request whose last bytes are held back where it is to be in the middle of its upload. */
function ask(url: string, { phase, fault }: Case) {
  const agent = keepAliveAgent(1);
  const body = Buffer.alloc(phase === 'upload' && fault === 'stall' ? LARGE : 1000, 'x');
  const req = openRequest(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'content-length': body.length },
    agent,
  });
  const rest = body.subarray(phase === 'upload' ? -10 : body.length);
  req.write(body.subarray(0, body.length - rest.length));
  if (rest.length === 0) req.end();
  const finished = new Promise((resolve) => req.once('finish', resolve));
  return {
    req,
    agent,
    async finish() {
      if (rest.length > 0) req.end(rest);
      await finished;
    },
  };
}

describe.each(PHASES)('%s:', (phase) => {
  it.each(CASES.filter((test) => test.phase === phase))(
    'upstream fault: $fault, $mode: $status $code',
    async (test) => {
      const { fault, mode, status, code } = test;
      const upstream = await faultyUpstream(fault, phase);
      const { proxy, events, usages } = await proxyTo(upstream, test);
      const { req, agent, finish } = ask(proxy.url, test);

      // --- up to the fault
      const responded = responseTo(req);
      const sent = await upstream.reached;
      expect(sent === undefined).toBe(status !== 200);
      if (sent === undefined) upstream.strike();
      const response = await responded;
      const received: Buffer[] = [];
      const expected = expectedBody(sent ?? Buffer.alloc(0), test);
      const has = (size: number): boolean => Buffer.concat(received).length >= size;
      response.on('data', (data: Buffer) => received.push(data));
      const over = closed(response);
      if (sent !== undefined) {
        while (!has(expected.length)) await once(response, 'data');
        upstream.strike();
      }

      // --- what the client sees
      await over;
      expect(response.statusCode).toBe(status);
      const body = Buffer.concat(received);
      if (status === 200) {
        expect(response.complete).toBe(false);
        expect(body.subarray(0, expected.length)).toEqual(expected);
        expect(errorCodeIn(body.subarray(expected.length))).toBe(isTold(test) ? code : undefined);
      } else {
        expect(response.complete).toBe(true);
        expect(response.headers['content-type']).toMatch(/^application\/json\b/);
        expect(response.headers['x-should-retry']).toBe(code === 'UPSTREAM_TIMEOUT' ? 'false' : undefined);
        expect(JSON.parse(body.toString())).toMatchObject({ error: { code } });
        await finish();
        const next = openRequest(`${proxy.url}/own`, { agent });
        next.end();
        expect(await readText(await responseTo(next))).toBe('own');
        expect(next.reusedSocket).toBe(true);
      }

      // --- what the account says
      const summary = await proxy.summary();
      expect(summary).toMatchObject({
        outcome: OUTCOMES[code],
        statusCode: status,
        attempts: [{ target: upstream.url, error: code }],
        target: upstream.url,
        bytes: status === 200 ? body.length : 0,
        error: { name: 'SseProxyError', code },
      });
      if (mode === 'observed') {
        const whole = wholeEvents(sent ?? Buffer.alloc(0));
        expect(events).toEqual(whole);
        const reported = { prompt_tokens: 3, completion_tokens: 2 };
        const tokens = whole.length > 2 ? { inputTokens: 3, outputTokens: 2, totalTokens: 5, reported } : {};
        await turns();
        // The figures are complete where the answer came to the end of its dialect, `[DONE]`.
        expect(usages).toEqual('unseen' in test ? [] : [{ ...tokens, complete: whole.length === EVENTS.length }]);
      }

      // --- what is left behind
      expect(proxy.proxy.active).toBe(0);
      await until(() => upstream.open() === 0);
      agent.destroy();
      await until(async () => (await connections(proxy.server)) === 0);
      await turns();
      expect(proxy.summaries).toHaveLength(1);
    },
  );
});

/** Whether an error event goes before the cut: with a provider, between events, where nothing is counted or over. */
function isTold({ mode, phase, fault }: Case): boolean {
  if (mode !== 'observed' || fault === 'short body') return false;
  return phase !== 'before the last chunk';
}

/** The code in the one event that these bytes are; `undefined` for none. */
function errorCodeIn(bytes: Buffer): string | undefined {
  if (bytes.length === 0) return undefined;
  const [, json] = /^data: (.*)\n\n$/.exec(bytes.toString()) ?? [];
  return JSON.parse(String(json)).error.code;
}
