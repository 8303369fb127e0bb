import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { LoggingMessageNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import type { SseProxyOptions } from '../../lib/index.js';
import { tappedFetch } from '../support/clients/sdks.js';
import { ABORTS, compatible, ERRORS, HEARTBEATS, PING, STREAMS, versionOf } from '../support/programs/compatibility.js';
import { appStack } from '../support/servers/app-stack.js';
import { proxyApp } from '../support/servers/proxies.js';
import { upstream } from '../support/servers/upstreams.js';
import { onCleanUp } from '../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../support/watch/process.js';
import { closed, Queue, signal } from '../support/watch/wait.js';

closeAndWatchEachTest();

interface McpUpstream {
  url: string;
  server: McpServer;
  /** The requests, in the order in which they came. */
  requests: { method: string | undefined; session: unknown; res: ServerResponse }[];
  /** Has the tool `count` tell its next progress, or, with `false`, its result. */
  goOn(more?: boolean): void;
  /** The ids of the sessions that the client has ended. */
  ended: Queue<string>;
}

/** A server with one session, and a tool that counts at the test's pace. */
async function mcpUpstream(): Promise<McpUpstream> {
  const steps = new Queue<boolean>();
  const ended = new Queue<string>();
  const server = new McpServer({ name: 'upstream', version: '1.0.0' }, { capabilities: { logging: {} } });
  server.registerTool('count', {}, async ({ _meta, sendNotification }) => {
    let progress = 0;
    while (await steps.next()) {
      progress += 1;
      const params = { progressToken: _meta?.progressToken ?? '', progress };
      await sendNotification({ method: 'notifications/progress', params });
    }
    return { content: [{ type: 'text', text: `${progress}` }] };
  });
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessionclosed: (id) => ended.push(id),
  });
  await server.connect(transport);
  onCleanUp(() => server.close());
  const requests: McpUpstream['requests'] = [];
  const { url } = await upstream(async (req: IncomingMessage, res) => {
    requests.push({ method: req.method, session: req.headers['mcp-session-id'], res });
    await transport.handleRequest(req, res);
  });
  return { url, server, requests, ended, goOn: (more = true) => steps.push(more) };
}

/** A client that is connected to it through the proxy of an app, and has its stream of notifications open. */
async function connected(options: SseProxyOptions = {}, tap = fetch) {
  const upstream = await mcpUpstream();
  const proxy = await proxyApp({ target: upstream.url, ...options }, appStack());
  const listening = signal();
  const transport = new StreamableHTTPClientTransport(new URL(`${proxy.url}/mcp`), {
    fetch: async (input, init) => {
      if (init?.method === 'POST') return tap(input, init);
      const response = await fetch(input, init);
      if (init?.method === 'GET') listening.resolve();
      return response;
    },
  });
  const client = new Client({ name: 'client', version: '1.0.0' });
  await client.connect(transport);
  onCleanUp(() => client.close());
  await listening.promise;
  return { upstream, proxy, client, transport };
}

const count = { name: 'count', arguments: {} };

describe(compatible('client', '@modelcontextprotocol/sdk', versionOf('@modelcontextprotocol/sdk')), () => {
  it(STREAMS, async () => {
    const { upstream, client } = await connected();
    const told = new Queue<number>();
    const result = client.callTool(count, undefined, { onprogress: ({ progress }) => told.push(progress) });
    for (const progress of [1, 2, 3]) {
      upstream.goOn();
      expect(await told.next()).toBe(progress);
    }
    upstream.goOn(false);
    expect(await result).toMatchObject({ content: [{ type: 'text', text: '3' }] });
  });

  it(ABORTS, async () => {
    const { upstream, client, proxy } = await connected();
    const listening = upstream.requests.find(({ method }) => method === 'GET');
    await client.close();
    await closed(listening?.res as ServerResponse);
    // Those before it were answered: initialize, and the notification that it was.
    const outcomes = [await proxy.summary(), await proxy.summary(), await proxy.summary()].map(
      ({ outcome }) => outcome,
    );
    expect(outcomes).toEqual(['completed', 'completed', 'client-closed']);
  });

  it(ERRORS, async () => {
    const { client, transport } = await connected();
    await transport.terminateSession();
    // The session has ended upstream, and the client is made to believe that it has not.
    Object.assign(transport, { _sessionId: 'another' });
    await expect(client.ping()).rejects.toMatchObject({ code: 404, message: expect.stringContaining('Session not') });
  });

  it(HEARTBEATS, async () => {
    const tap = tappedFetch();
    const { upstream, client } = await connected({ heartbeat: { interval: 10 } }, tap.fetch);
    // Of what it cannot read it tells nobody else.
    const errors: Error[] = [];
    client.onerror = (error) => errors.push(error);
    const told = new Queue<number>();
    const result = client.callTool(count, undefined, { onprogress: ({ progress }) => told.push(progress) });
    for (const progress of [1, 2]) {
      const { length } = tap.wire;
      await tap.until(() => tap.wire.slice(length).includes(PING.repeat(2)));
      upstream.goOn();
      expect(await told.next()).toBe(progress);
    }
    upstream.goOn(false);
    expect(await result).toMatchObject({ content: [{ type: 'text', text: '2' }] });
    expect(errors).toEqual([]);
  });

  it('the session id, both ways', async () => {
    const { upstream, client, transport } = await connected();
    await client.ping();
    const { sessionId } = transport;
    expect(sessionId).toMatch(/^[\da-f-]{36}$/);
    const sessions = upstream.requests.map(({ method, session }) => `${method} ${session}`);
    expect(sessions.sort()).toEqual([`GET ${sessionId}`, `POST ${sessionId}`, `POST ${sessionId}`, 'POST undefined']);
  });

  it('notifications of the server', async () => {
    const { upstream, client } = await connected();
    const told = new Queue<unknown>();
    client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => told.push(params.data));
    for (const data of ['one', 'zwei', '三']) {
      await upstream.server.sendLoggingMessage({ level: 'info', data });
      expect(await told.next()).toBe(data);
    }
  });

  it('DELETE', async () => {
    const { upstream, transport } = await connected();
    const { sessionId } = transport;
    await transport.terminateSession();
    expect(await upstream.ended.next()).toBe(sessionId);
    expect(upstream.requests.at(-1)).toMatchObject({ method: 'DELETE', session: sessionId });
  });
});
