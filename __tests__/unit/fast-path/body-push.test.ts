import '../../support/streams/fast-path-on.js';
import { once } from 'node:events';
import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { takePieces } from '../../../lib/fast-path/body-push.js';
import { request } from '../../support/clients/http.js';
import { rawUpstream } from '../../support/servers/upstreams.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

function taken() {
  const socket = new Socket();
  const source = new IncomingMessage(socket);
  onCleanUp(() => {
    source.destroy();
    socket.destroy();
  });
  const pieces: string[] = [];
  const take = (piece: Buffer): void => void pieces.push(String(piece));
  source.on('data', take);
  takePieces(source, take);
  return { source, pieces };
}

describe('a piece of a body', () => {
  it('body push: a piece of a body is handed on in the call by which it comes, past the stream', () => {
    const { source, pieces } = taken();
    expect(source.push(Buffer.from('1'))).toBe(true);
    expect(pieces).toEqual(['1']);
    expect(source.readableDidRead).toBe(false);
  });

  it('body push: a piece of a body is handed on in its turn where others wait', async () => {
    const { source, pieces } = taken();
    source.push(Buffer.from('1'));
    source.pause();
    source.push(Buffer.from('2'));
    source.push(Buffer.from('3'));
    await turns();
    expect(pieces).toEqual(['1']);
    source.resume();
    source.push(Buffer.from('4'));
    await turns();
    source.push(Buffer.from('5'));
    expect(pieces).toEqual(['1', '2', '3', '4', '5']);
  });

  it('body push: a piece of a body is told to whoever else listens, from then on and no longer', async () => {
    const { source, pieces } = taken();
    source.push(Buffer.from('1'));
    const seen: string[] = [];
    const listener = (piece: Buffer): void => void seen.push(String(piece));
    source.on('data', listener);
    source.push(Buffer.from('2'));
    await turns();
    source.removeListener('data', listener);
    source.push(Buffer.from('3'));
    await turns();
    expect(seen).toEqual(['2']);
    expect(pieces).toEqual(['1', '2', '3']);
  });

  it('body push: a piece of a body tells its sender to stop where too many wait', () => {
    const { source } = taken();
    source.pause();
    expect(source.push(Buffer.alloc(source.readableHighWaterMark))).toBe(false);
  });

  it('body push: a piece of a body is for nobody when the source was destroyed', () => {
    const { source, pieces } = taken();
    source.destroy();
    source.push(Buffer.from('1'));
    expect(pieces).toEqual([]);
  });

  it('body push: a piece of a body is not the end, which is told by the stream', async () => {
    const { source, pieces } = taken();
    source.push(Buffer.from('1'));
    source.push(null);
    await once(source, 'end');
    expect(pieces).toEqual(['1']);
  });
});

it('body push: a body comes from Node by `push`, one for each chunk, and then the end', async () => {
  let say = (_text: string): void => {};
  const { url } = await rawUpstream((socket) => {
    say = (text) => void socket.write(text);
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
  });
  const response = await request(url);
  const pieces: string[] = [];
  const take = (piece: Buffer): void => void pieces.push(String(piece));
  response.on('data', take);
  takePieces(response, take);
  say('1\r\n1\r\n1\r\n2\r\n0\r\n\r\n');
  await once(response, 'end');
  expect(pieces).toEqual(['1', '2']);
  expect(response.readableDidRead).toBe(false);
});
