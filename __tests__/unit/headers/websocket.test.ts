import { afterEach, describe, expect, it } from '@jest/globals';
import { offersWebSocket } from '../../../lib/headers/websocket.js';
import { requestWith } from '../../support/servers/bare-http.js';
import { closeAll } from '../../support/watch/clean-up.js';

afterEach(closeAll);

describe('a WebSocket handshake', () => {
  it.each([
    [true, 'websocket'],
    [true, 'h2c, WebSocket'],
    [false, 'h2c'],
    [false, 'websockets'],
  ])('WebSocket handshake headers: offer WebSocket: %s: %s', async (expected, value) => {
    expect(offersWebSocket(await requestWith(['Connection: Upgrade', `Upgrade: ${value}`]))).toBe(expected);
  });
});
