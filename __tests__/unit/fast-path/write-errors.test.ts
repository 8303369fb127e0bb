import { once } from 'node:events';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { describe, expect, it, jest } from '@jest/globals';
import { holdWriteErrors } from '../../../lib/fast-path/write-errors.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { stopTheClock } from '../../support/watch/clock.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { closed, turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const FAILURE = Object.assign(new Error('write EPIPE'), { code: 'EPIPE', syscall: 'write' });

/** A connection whose writes fail, and what it reports. */
function broken() {
  const duplex = new Duplex({
    read() {},
    write: (_chunk, _encoding, done) => done(FAILURE),
    writev: (_chunks, done) => done(FAILURE),
  });
  const socket = Object.assign(duplex as unknown as Socket, { bytesRead: 0 });
  const errors: unknown[] = [];
  socket.on('error', (error) => errors.push(error));
  onCleanUp(() => void socket.destroy());
  holdWriteErrors(socket);
  return { socket, errors };
}

describe('a connection whose write has failed', () => {
  it.each([
    ['one write', 1],
    ['several at once', 2],
  ])('write errors: ends when its read side has, after what was still read: %s', async (_how, count) => {
    const { socket, errors } = broken();
    const reads: string[] = [];
    socket.on('data', (data) => reads.push(String(data)));
    socket.cork();
    for (let n = 0; n < count; n += 1) socket.write('x');
    socket.uncork();
    await turns(2);
    expect(socket.destroyed).toBe(false);
    const isClosed = closed(socket);
    socket.push('answer');
    socket.push(null);
    await isClosed;
    expect({ reads, errors }).toEqual({ reads: ['answer'], errors: [FAILURE] });
  });

  it('write errors: fails after a second where nothing is read', async () => {
    stopTheClock();
    const { socket, errors } = broken();
    socket.resume().write('x');
    await turns(2);
    jest.advanceTimersByTime(999);
    expect(socket.destroyed).toBe(false);
    jest.advanceTimersByTime(1);
    expect(socket.destroyed).toBe(true);
    await turns(2);
    expect(errors).toEqual([FAILURE]);
  });

  it('write errors: is left to the deadlines of an answer that has begun', async () => {
    stopTheClock();
    const { socket, errors } = broken();
    socket.resume().write('x');
    socket.bytesRead = 1;
    jest.advanceTimersByTime(10_000);
    expect(socket.destroyed).toBe(false);
    socket.destroy();
    await closed(socket);
    expect(errors).toEqual([]);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('write errors: fails at once where the read side has ended before', async () => {
    const { socket, errors } = broken();
    socket.resume().push(null);
    await once(socket, 'end');
    socket.write('x');
    await closed(socket);
    expect(errors).toEqual([FAILURE]);
  });

  it('write errors: are held once, however many requests its connection is used for', () => {
    const { socket } = broken();
    const { _write: write } = socket;
    holdWriteErrors(socket);
    expect(socket._write).toBe(write);
  });
});
