import http, { type ClientRequest } from 'node:http';
import type { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { Connection } from '../../../lib/fast-path/connection.js';
import { looseWire } from '../../support/servers/bare-http.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const RESPONSE = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n');

function connected() {
  const wire = looseWire();
  const socket = wire as unknown as Socket;
  const request: ClientRequest = http.request({ createConnection: () => wire });
  request.on('error', () => {}).on('response', (response) => response.resume());
  request.end();
  onCleanUp(() => {
    request.destroy();
    wire.destroy();
  });
  return { wire, socket, request, connection: Connection.of(socket) };
}

describe('a connection', () => {
  it('connection reads: one for each socket', () => {
    const { socket, connection } = connected();
    expect(Connection.of(socket)).toBe(connection);
    expect(Connection.find(socket)).toBe(connection);
    expect(Connection.find(looseWire() as Socket)).toBeUndefined();
  });

  it('connection reads: a connection knows the first read of a response, as long as it is parsed', async () => {
    const { wire, connection, request } = connected();
    connection.watch(request);
    await turns();
    const seen: unknown[] = [];
    request.once('response', (response) => {
      seen.push(connection.firstRead);
      response.on('data', () => seen.push(connection.firstRead));
    });
    wire.push(RESPONSE);
    expect(connection.firstRead).toBeUndefined();
    wire.push(Buffer.from('body'));
    await turns();
    expect(seen).toEqual([RESPONSE, undefined]);
  });

  it("connection reads: a connection hands what is read to a filter, until it is the next request's", async () => {
    const { wire, connection, request } = connected();
    connection.watch(request);
    await turns();
    const reads: string[] = [];
    connection.setFilter((read, parse) => {
      reads.push(String(read));
      parse(read);
    });
    const response = new Promise((resolve) => request.once('response', resolve));
    wire.push(RESPONSE);
    await response;
    expect(reads).toEqual([String(RESPONSE)]);
    connection.watch(request);
    wire.push(Buffer.from('body'));
    expect(reads).toHaveLength(1);
  });

  it('connection reads: a connection parses nothing any more when it is closed', async () => {
    const { wire, connection, request } = connected();
    connection.watch(request);
    await turns();
    connection.setFilter((_read, parse) => {
      wire.destroy();
      parse(Buffer.from('HTTP/1.1'));
    });
    expect(() => wire.push(RESPONSE)).not.toThrow();
  });

  it.each([
    ["that is nobody's", undefined],
    ['that was given back', 'free'],
  ])('connection reads: a connection %s is closed by what comes', async (_whose, event) => {
    const { wire, connection, request } = connected();
    await turns();
    if (event !== undefined) {
      connection.watch(request);
      wire.emit(event);
    }
    wire.push(RESPONSE);
    expect(wire.destroyed).toBe(true);
  });
});
