import { describe, expect, it } from '@jest/globals';
import { SseProxyError, type SseProxyErrorCode, toSseProxyError } from '../../lib/errors.js';

const STATUS: Record<SseProxyErrorCode, number> = {
  UPSTREAM_UNREACHABLE: 502,
  UPSTREAM_TLS_FAILED: 502,
  UPSTREAM_CLOSED: 502,
  UPSTREAM_INVALID_RESPONSE: 502,
  UPSTREAM_TRUNCATED: 502,
  UPSTREAM_TIMEOUT: 504,
  UPSTREAM_ERROR_EVENT: 502,
  UPSTREAM_CONNECT_TIMEOUT: 504,
  TOTAL_TIMEOUT: 504,
  CLIENT_TIMEOUT: 408,
  CONCURRENCY_LIMIT: 503,
  REQUEST_BODY_TOO_LARGE: 413,
  DRAINING: 503,
  DRAINED: 503,
  PATH_OUTSIDE_TARGET: 400,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  UPGRADE_NOT_SUPPORTED: 501,
  TARGET_MISSING: 500,
  REQUEST_BODY_CONSUMED: 500,
  CREDENTIALS_MISSING: 500,
  EVENTS_UNREADABLE: 502,
  EVENT_TOO_LARGE: 502,
  HOOK_FAILED: 500,
  PROXY_FAILED: 500,
};
const codes = Object.entries(STATUS) as [SseProxyErrorCode, number][];

/** As Node makes them: a message that names host and port, and a code. */
function nodeError(code: string): Error {
  return Object.assign(new Error(`connect ${code} secret.internal:8080`), { code, address: 'secret.internal' });
}

describe('SseProxyError', () => {
  it.each(codes)('SseProxyError: %s has the status %d, under both of the names that Express reads', (code, status) => {
    const error = new SseProxyError(code);
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: 'SseProxyError', code, status, statusCode: status, expose: true });
    expect(error.message).toMatch(/^[A-Z].*\.$/);
  });

  it('SseProxyError: keeps the cause, and does not show it', () => {
    const cause = nodeError('ECONNREFUSED');
    const error = new SseProxyError('UPSTREAM_UNREACHABLE', { cause });
    expect(error.cause).toBe(cause);
    expect(`${error.message} ${String(error)} ${JSON.stringify(error)}`).not.toContain('secret');
  });

  it('SseProxyError: has no cause where none was given', () => {
    expect('cause' in new SseProxyError('HOOK_FAILED')).toBe(false);
  });

  it('SseProxyError: takes headers for its response, beside those of its code', () => {
    const headers = { allow: 'GET, HEAD' };
    expect(new SseProxyError('METHOD_NOT_ALLOWED', { headers }).headers).toEqual(headers);
    expect(new SseProxyError('DRAINED', { headers: { 'x-a': '1' } }).headers).toEqual({
      'retry-after': '1',
      connection: 'close',
      'x-a': '1',
    });
    expect(new SseProxyError('HOOK_FAILED').headers).toEqual({});
  });

  it('SseProxyError: takes another status', () => {
    expect(new SseProxyError('HOOK_FAILED', { statusCode: 502 })).toMatchObject({ status: 502, statusCode: 502 });
  });
});

describe('a failure of the connection', () => {
  it.each([
    ['ECONNREFUSED', 'UPSTREAM_UNREACHABLE'],
    ['ENOTFOUND', 'UPSTREAM_UNREACHABLE'],
    ['EAI_AGAIN', 'UPSTREAM_UNREACHABLE'],
    ['EHOSTUNREACH', 'UPSTREAM_UNREACHABLE'],
    ['ENETUNREACH', 'UPSTREAM_UNREACHABLE'],
    ['ENOENT', 'UPSTREAM_UNREACHABLE'],
    ['EACCES', 'UPSTREAM_UNREACHABLE'],
    ['ETIMEDOUT', 'UPSTREAM_TIMEOUT'],
    ['ECONNRESET', 'UPSTREAM_CLOSED'],
    ['EPIPE', 'UPSTREAM_CLOSED'],
    ['HPE_INVALID_CONSTANT', 'UPSTREAM_INVALID_RESPONSE'],
    ['HPE_HEADER_OVERFLOW', 'UPSTREAM_INVALID_RESPONSE'],
    ['CERT_HAS_EXPIRED', 'UPSTREAM_TLS_FAILED'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'UPSTREAM_TLS_FAILED'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'UPSTREAM_TLS_FAILED'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'UPSTREAM_TLS_FAILED'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'UPSTREAM_TLS_FAILED'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'UPSTREAM_TLS_FAILED'],
    ['EPROTO', 'UPSTREAM_TLS_FAILED'],
    ['EWHATEVER', 'PROXY_FAILED'],
  ])('connection error: %s is %s', (nodeCode, code) => {
    const cause = nodeError(nodeCode);
    expect(toSseProxyError(cause, false)).toMatchObject({ code, cause });
  });

  it.each([
    ['HPE_HEADER_OVERFLOW', {}, "The head of the upstream's response is too large."],
    ['HPE_INVALID_CONSTANT', { rawPacket: Buffer.from('150301000202', 'hex') }, 'The upstream speaks TLS only.'],
    ['HPE_INVALID_CONSTANT', { rawPacket: Buffer.from('1603030040', 'hex') }, 'The upstream speaks TLS only.'],
    [
      'HPE_INVALID_CONSTANT',
      { rawPacket: Buffer.from('SSH-2.0') },
      'The upstream sent a response that is not valid HTTP.',
    ],
    ['ERR_SSL_WRONG_VERSION_NUMBER', {}, 'The upstream does not speak TLS.'],
    ['ERR_SSL_PACKET_LENGTH_TOO_LONG', {}, 'The upstream does not speak TLS.'],
    [
      'ERR_SSL_INTERNAL_ERROR',
      { message: '00:error:0A0C0103:SSL routines:tls_default_read_n:internal error:tls_common.c:378:' },
      'The upstream does not speak TLS.',
    ],
    [
      'EPROTO',
      { message: 'write EPROTO 80:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:c:350:' },
      'The upstream does not speak TLS.',
    ],
    [
      'EPROTO',
      { message: 'write EPROTO 80:error:0A00042E:SSL routines:ssl3_read_bytes:tlsv1 alert protocol version:c:1:' },
      'A secure connection to the upstream could not be established.',
    ],
    ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', {}, 'A secure connection to the upstream could not be established.'],
    ['CERT_HAS_EXPIRED', {}, 'A secure connection to the upstream could not be established.'],
  ])('connection error: %s with %j says: %s', (nodeCode, more, message) => {
    expect(toSseProxyError(Object.assign(nodeError(nodeCode), more), false).message).toBe(message);
  });

  it.each(['ECONNRESET', 'HPE_INVALID_CHUNK_SIZE', 'EWHATEVER'])(
    'connection error: %s behind the head is a cut response',
    (nodeCode) => {
      expect(toSseProxyError(nodeError(nodeCode), true).code).toBe('UPSTREAM_TRUNCATED');
    },
  );

  it('connection error of several addresses is named by their common code', () => {
    const refused = Object.assign(new AggregateError([nodeError('ECONNREFUSED')]), { code: 'ECONNREFUSED' });
    expect(toSseProxyError(refused, false).code).toBe('UPSTREAM_UNREACHABLE');
  });

  it('connection error that has its name already keeps it', () => {
    const error = new SseProxyError('TARGET_MISSING');
    expect(toSseProxyError(error, true)).toBe(error);
  });

  it.each([undefined, null, 'text', 7, {}])('connection error: may be anything that was thrown: %p', (thrown) => {
    expect(toSseProxyError(thrown, false)).toMatchObject({ code: 'PROXY_FAILED', cause: thrown });
  });
});
