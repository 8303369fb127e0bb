import '../../support/streams/fast-path-on.js';
import { OutgoingMessage } from 'node:http';
import { describe, expect, it } from '@jest/globals';
import { canWriteDirectly, writeDirectly } from '../../../lib/fast-path/direct-write.js';
import { rawClient } from '../../support/clients/raw.js';
import { receive } from '../../support/servers/bare-http.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { rawUpstream } from '../../support/servers/upstreams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const GET = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';

/** How often a response of Node's has been written to from here on. */
function countWrites(): () => number {
  const { write } = OutgoingMessage.prototype;
  let count = 0;
  OutgoingMessage.prototype.write = function (...args: unknown[]) {
    if ('statusCode' in this) count += 1;
    return Reflect.apply(write, this, args);
  };
  onCleanUp(() => {
    OutgoingMessage.prototype.write = write;
  });
  return () => count;
}

it('direct writes: events go into the connection of the client, and never through its response', async () => {
  let say = (_text: string): void => {};
  const { url } = await rawUpstream((socket) => {
    say = (text) => void socket.write(text);
    say('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n');
  });
  const proxy = await proxyApp({ target: url });
  const writes = countWrites();
  const client = await rawClient(proxy.port);
  client.socket.write(GET);
  await client.until('\r\n\r\n');
  for (const event of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
    say(`${event.length.toString(16)}\r\n${event}\r\n`);
    await client.until(event);
  }
  expect(writes()).toBe(0);
});

describe('direct writes: a response can be written past', () => {
  it('direct writes: a response can be written past where its head has left, chunk by chunk', async () => {
    const { res, closed } = await receive(GET);
    res.flushHeaders();
    expect(canWriteDirectly(res)).toBe(true);
    const bytes = { chunks: [Buffer.from('01\r\na\r\n')], pieces: [Buffer.from('b'), Buffer.from('c')], piecesSize: 2 };
    expect(writeDirectly(res, bytes, undefined)).toBe(true);
    res.end();
    expect((await closed()).text).toMatch(/\r\n\r\n01\r\na\r\n2\r\nbc\r\n0\r\n\r\n$/);
  });

  it.each<[string, (res: Awaited<ReturnType<typeof receive>>['res']) => unknown]>([
    ['middleware has put a `write` of its own in front', (res) => Object.assign(res, { write: () => true })],
    ['somebody holds back what is written', (res) => res.cork()],
    ['somebody counts what is written', (res) => Object.assign(res, { strictContentLength: true })],
    ['its connection is closed', (res) => res.socket?.destroy()],
    ['it has ended, and its connection is given to the next', (res) => res.socket && res.detachSocket(res.socket)],
  ])('direct writes: a response can be written past not where %s', async (_what, change) => {
    const { res } = await receive(GET);
    res.flushHeaders();
    change(res);
    expect(canWriteDirectly(res)).toBe(false);
    res.destroy();
  });

  it('direct writes: a response can be written past not where it has no body', async () => {
    const { res } = await receive(GET.replace('GET', 'HEAD'));
    res.flushHeaders();
    expect(canWriteDirectly(res)).toBe(false);
    res.end();
  });
});
