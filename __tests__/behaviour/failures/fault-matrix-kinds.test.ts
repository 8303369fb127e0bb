/** The fault matrix for exchanges of other kinds: clients of HTTP/2, HEAD, redirects, upgrades, answers of listeners, `drain()`. */
import { once } from 'node:events';
import net from 'node:net';
import { describe, expect, it } from '@jest/globals';
import type { SseProxyErrorCode, SseProxyOptions } from '../../../lib/index.js';
import { handshake } from '../../support/clients/web-sockets.js';
import {
  FAULTS,
  type Fault,
  type FaultyUpstream,
  faultyUpstream,
  PHASES,
  type Phase,
} from '../../support/servers/faulty-upstream.js';
import { proxyApp, proxyIn } from '../../support/servers/proxies.js';
import { upstream } from '../../support/servers/upstreams.js';
import { MATRIX, OUTCOMES } from '../../support/streams/fault-matrix.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { until } from '../../support/watch/wait.js';

closeAndWatchEachTest();

interface Case {
  fault: Fault;
  phase: Phase;
  status: number;
  code: SseProxyErrorCode;
}

/** The possible faults in these phases. An upload that stalls is a matter of many megabytes, and of the matrix itself. */
function casesOf(phases: readonly Phase[]): Case[] {
  return phases.flatMap((phase) =>
    FAULTS.flatMap((fault) => {
      const cell = MATRIX[phase][fault];
      return 'impossible' in cell || phase === 'upload' ? [] : [{ ...cell, fault, phase }];
    }),
  );
}

/** Only the deadline that is meant. */
function optionsFor({ fault, phase, status }: Case): SseProxyOptions {
  const off = { connect: false, headers: false, idle: false, drain: false } as const;
  const meant = phase === 'connect' ? { connect: 30 } : status === 504 ? { headers: 30 } : { idle: 30 };
  return { secure: phase === 'connect', timeouts: fault === 'stall' ? { ...off, ...meant } : off };
}

const BEFORE_THE_HEAD = casesOf(['connect', 'before the head']);

/** Lets the fault happen where nothing of an answer has been sent. */
async function strikeBeforeTheHead({ reached, strike }: FaultyUpstream): Promise<void> {
  await reached;
  strike();
}

describe('an exchange of a client of HTTP/2', () => {
  it.each(casesOf(PHASES))('fault matrix: HTTP/2, $phase, $fault: $status $code', async (test) => {
    const faulty = await faultyUpstream(test.fault, test.phase);
    const { ask, summary, proxy } = await proxyIn('HTTP/2', { target: faulty.url, ...optionsFor(test) });
    const asked = ask({ method: 'POST', body: 'x'.repeat(1000), headers: { 'content-length': '1000' } });
    const sent = await faulty.reached;
    if (sent === undefined) faulty.strike();
    const answer = await asked;
    expect(answer.status).toBe(test.status);
    if (sent !== undefined) {
      await answer.until(sent.toString('latin1'));
      faulty.strike();
    }
    const { text, cut } = await answer.ended();
    expect(cut).toBe(sent !== undefined);
    if (sent === undefined) expect(JSON.parse(text)).toMatchObject({ error: { code: test.code } });
    expect(await summary()).toMatchObject({
      outcome: OUTCOMES[test.code],
      statusCode: test.status,
      bytes: sent?.length ?? 0,
    });
    expect(proxy.active).toBe(0);
    await until(() => faulty.open() === 0);
  });
});

describe('a HEAD', () => {
  it.each(BEFORE_THE_HEAD)('fault matrix: HEAD, $phase, $fault: $status $code', async (test) => {
    const faulty = await faultyUpstream(test.fault, test.phase);
    const { ask, summary, proxy } = await proxyIn('HTTP/1.1', { target: faulty.url, ...optionsFor(test) });
    const asked = ask({ method: 'HEAD' });
    await strikeBeforeTheHead(faulty);
    const answer = await asked;
    expect([answer.status, await answer.ended()]).toEqual([test.status, { text: '', cut: false }]);
    expect((await summary()).error?.code).toBe(test.code);
    expect(proxy.active).toBe(0);
    await until(() => faulty.open() === 0);
  });
});

describe('a redirect that is followed', () => {
  // The deadline of a connection is that of the first: what follows a redirect has the one for the head.
  const isConnecting = ({ fault, phase }: Case): boolean => fault === 'stall' && phase === 'connect';
  it.each(casesOf(['connect', 'before the head', 'between events']).filter((test) => !isConnecting(test)))(
    'fault matrix: redirect, $phase, $fault: $status $code',
    async (test) => {
      const faulty = await faultyUpstream(test.fault, test.phase);
      const { url } = await upstream((_req, res) => res.writeHead(302, { location: `${faulty.url}/there` }).end());
      const options = { target: url, followRedirects: true, ...optionsFor(test) };
      const { ask, summary, proxy } = await proxyIn('HTTP/1.1', options);
      const asked = ask();
      const sent = await faulty.reached;
      if (sent === undefined) faulty.strike();
      const answer = await asked;
      expect(answer.status).toBe(test.status);
      if (sent !== undefined) {
        await answer.until(sent.toString('latin1'));
        faulty.strike();
      }
      expect((await answer.ended()).cut).toBe(sent !== undefined);
      expect((await summary()).error?.code).toBe(test.code);
      expect(proxy.active).toBe(0);
      await until(() => faulty.open() === 0);
    },
  );
});

describe('an upgrade', () => {
  it.each(BEFORE_THE_HEAD)('fault matrix: upgrade, $phase, $fault: $status $code', async (test) => {
    const faulty = await faultyUpstream(test.fault, test.phase);
    const { proxy, server, port, summary } = await proxyApp({ target: faulty.url, ws: true, ...optionsFor(test) });
    server.on('upgrade', proxy.upgrade);
    const socket = net.connect(port, '127.0.0.1');
    onCleanUp(() => void socket.destroy());
    let text = '';
    socket.on('data', (data) => {
      text += String(data);
    });
    const ended = once(socket, 'close');
    socket.write(handshake());
    await strikeBeforeTheHead(faulty);
    await ended;
    expect(text).toMatch(new RegExp(`^HTTP/1.1 ${test.status} `));
    expect((await summary()).error?.code).toBe(test.code);
    expect(proxy.active).toBe(0);
    await until(() => faulty.open() === 0);
  });
});

describe("an answer of the user's own", () => {
  // A deadline is the proxy's own, of which `on.error` is not told.
  it.each(BEFORE_THE_HEAD.filter(({ fault }) => fault !== 'stall'))(
    'fault matrix: on.error answers, $phase, $fault',
    async (test) => {
      const faulty = await faultyUpstream(test.fault, test.phase);
      const { ask, summary, proxy } = await proxyIn('HTTP/1.1', {
        target: faulty.url,
        ...optionsFor(test),
        on: {
          error: (_error, _req, res) => {
            if ('writeHead' in res) res.writeHead(418).end('own');
          },
        },
      });
      const asked = ask();
      await strikeBeforeTheHead(faulty);
      const answer = await asked;
      expect([answer.status, (await answer.ended()).text]).toEqual([418, 'own']);
      expect(await summary()).toMatchObject({ statusCode: 418, error: { code: test.code } });
      expect(proxy.active).toBe(0);
      await until(() => faulty.open() === 0);
    },
  );
});

describe('drain()', () => {
  it.each(casesOf(PHASES).filter(({ fault }) => fault === 'stall'))(
    'fault matrix: drain() ends an exchange that has stalled, $phase',
    async ({ phase }) => {
      const faulty = await faultyUpstream('stall', phase);
      const { ask, summary, proxy } = await proxyIn('HTTP/1.1', { target: faulty.url, secure: phase === 'connect' });
      const asked = ask();
      const sent = await faulty.reached;
      faulty.strike();
      const answer = sent === undefined ? undefined : await asked;
      await until(() => proxy.active === 1);
      await proxy.drain({ grace: 0 });
      const { status, ended } = answer ?? (await asked);
      expect(status).toBe(sent === undefined ? 503 : 200);
      expect((await ended()).cut).toBe(sent !== undefined);
      expect((await summary()).error?.code).toBe('DRAINED');
      expect(proxy.active).toBe(0);
      await until(() => faulty.open() === 0);
    },
  );
});
