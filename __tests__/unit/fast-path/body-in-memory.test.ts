import '../../support/streams/fast-path-on.js';
import { describe, expect, it } from '@jest/globals';
import { bodySource, noBody } from '../../../lib/fast-path/body-in-memory.js';
import { unconnectedRequest } from '../../support/servers/bare-http.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';

closeAndWatchEachTest();

const post = () => unconnectedRequest({ method: 'POST', headers: { 'content-length': 4 } });

describe('a body in memory', () => {
  it('body in memory: is handed to its request in the call that pipes it, past any stream', () => {
    const request = post();
    bodySource(Buffer.from('body'), 1).pipe(request);
    expect(request.writableEnded).toBe(true);
  });

  it('body in memory: is told, with its end, to who listens to it', () => {
    const told: string[] = [];
    bodySource(Buffer.from('body'), 1)
      .on('data', (bytes?: Buffer) => told.push(String(bytes)))
      .on('end', () => told.push('its end'));
    expect(told).toEqual(['body', 'its end']);
  });

  it('body in memory: is there for as many requests as were told of', () => {
    const source = bodySource(Buffer.from('body'), 2);
    const told: string[] = [];
    for (let i = 0; i < 2; i += 1) source.on('data', (bytes?: Buffer) => told.push(String(bytes))).on('end', () => {});
    expect(told).toEqual(['body', 'body']);
  });

  it('body in memory that is none ends its request in the call that pipes it', () => {
    const request = unconnectedRequest();
    noBody().pipe(request);
    expect(request.writableEnded).toBe(true);
  });
});
