import { describe, expect, it } from '@jest/globals';
import { checkAllowed, confine, parseRoutes } from '../../../lib/admission/path-guard.js';
import { SseProxyError } from '../../../lib/errors.js';
import { askedPath, originForm } from '../../../lib/util/request-target.js';

/** The error that is thrown. */
function refusal(action: () => void): SseProxyError | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(SseProxyError);
    return error as SseProxyError;
  }
}

describe('the origin form of a request target', () => {
  it.each([
    ['/v1/models?a=b', '/v1/models?a=b'],
    ['http://evil.example/v1/models?a=b', '/v1/models?a=b'],
    ['HTTPS://user:pass@evil.example:8443/v1', '/v1'],
    ['http://evil.example', '/'],
    ['http://evil.example?a=b', '/?a=b'],
    ['ws+unix://evil.example/x', '/x'],
    ['//evil.example/v1', '//evil.example/v1'],
    ['/http://evil.example/', '/http://evil.example/'],
    ['*', '*'],
    ['', ''],
  ])('origin form of %s is %s', (target, expected) => {
    expect(originForm(target)).toBe(expected);
  });
});

/** `..` as servers have been known to read it. */
const PARENTS = [
  '%2e%2e',
  '%2E.',
  '.%2e',
  '%252e%252e',
  '%25252e%2e',
  '%25%32%65.',
  '%%32%65.',
  '..;',
  '..;a=b',
  '..%3bx',
  '%2e%2e%253b',
];
const SLASHES = ['%2f', '%2F', '%252f', '\\', '%5c', '%255C'];

describe('the path that a request target asks for', () => {
  it.each([
    ['/v1/models?a=b', '/v1/models?a=b'],
    ['http://evil.example?a=b', '/?a=b'],
    ['//evil.example/v1', '//evil.example/v1'],
    ['a/b', '/a/b'],
    ['?a=b', '/?a=b'],
    ['http:/a', '/http:/a'],
    ['\\a', '/\\a'],
    ['*', '/*'],
    ['', '/'],
  ])('path of a request target of %s is %s', (target, expected) => {
    expect(askedPath(target)).toBe(expected);
  });
});

describe('a path', () => {
  it.each([
    '',
    '/',
    '//',
    '//evil.example/v1',
    '/v1/models',
    '/v1/../v2',
    '/a/../b/./c',
    '/a/b/../..',
    '/v1/...',
    '/v1/..a/a..',
    '/v1/a%2fb',
    '/v1/%2e/a',
    '/v1/models/100%',
    '/v1/%zz/%',
    '/v1/%E4%B8%96?a=../..&b=%2e%2e%2f',
    '/@evil.example',
    '/v1/\xe4\xff\x7f',
  ])('path traversal: a path that stays below its start is let pass: %s', (path) => {
    expect(refusal(() => confine(path))).toBeUndefined();
  });

  it.each([
    '/..',
    '/../',
    '..',
    '/v1/../..',
    '/v1/../../v2',
    '/./..',
    '//../v1',
    '/v1//../..',
    '/%2e/..',
    '/%2f/..',
    '/;a/..',
    '/.;a/..',
    '/v1%2fa/../..',
    ...PARENTS.flatMap((parent) => [`/${parent}`, `/v1/${parent}/v2`]),
    ...SLASHES.flatMap((slash) => [`/v1${slash}..${slash}..`, `/v1/..${slash}v2`, `/v1${slash}%2e.`]),
    `/v1/%${'25'.repeat(10)}2e`,
    ...[
      '/v1#',
      '#',
      '/v1#/../..',
      '/#/v1',
      '/v1?a=b#c',
      '/v1?#',
      '/v1 HTTP/1.1',
      '/v1\tx',
      '/v1\r\nX: 1',
      '/v1\0',
      '/世',
    ],
  ])('path traversal: a path that does not, or may not, is refused: %s', (path) => {
    expect(refusal(() => confine(path))).toMatchObject({ code: 'PATH_OUTSIDE_TARGET', statusCode: 400 });
  });
});

describe('`allow`', () => {
  const routes = parseRoutes([
    'POST /v1/chat/completions',
    'GET /v1/models',
    'GET /v1/models/:model',
    'DELETE /v1/models/:model',
    'GET /v1/files/*path',
    'POST /v1/batches{/:batch}/cancel',
  ]);

  it.each([
    ['POST', '/v1/chat/completions'],
    ['POST', '/v1/chat/completions?a=b'],
    ['POST', '/v1/chat/completions/'],
    ['GET', '/v1/models/gpt-5'],
    ['HEAD', '/v1/models/gpt-5'],
    ['DELETE', '/v1/models/ft:gpt-5:a:%E4%B8%96'],
    ['GET', '/v1/files/a/b/c'],
    ['GET', '/v1/files/a%2fb'],
    ['GET', '/v1/models/a.b;c=d'],
    ['GET', '/v1/files/./a'],
    ['POST', '/v1/batches/b1/cancel'],
    ['POST', '/v1/batches/cancel'],
  ])('allow list: lets pass what it names: %s %s', (method, path) => {
    expect(refusal(() => checkAllowed(routes, method, path))).toBeUndefined();
  });

  it.each([
    ['GET', '/'],
    ['GET', ''],
    ['GET', '*'],
    ['GET', '/v1'],
    ['GET', '/v1/models/gpt-5/files'],
    ['POST', '/v1/chat/completions%2f..%2f..'],
    ['POST', '//v1/chat/completions'],
    ['POST', '/v1/chat/completions/x'],
    ['POST', '/v1/chat%2fcompletions'],
    ['POST', '/v1/chat\\completions'],
    ['GET', '/v1/models/a%2fb'],
    ['GET', '/v1/models/a%252fb'],
    ['GET', '/v1/files/../models'],
    ['GET', '/v1/files/%2e%2e/models'],
    ['GET', '/v1/files/a%2f..%2f..'],
    ['GET', '/v1/models/..'],
    ['DELETE', '/v1/models/.'],
    ['DELETE', '/v1/models/./'],
    ['DELETE', '/v1/models/%2e'],
    ['DELETE', '/v1/models/%252E'],
    ['DELETE', '/v1/models/;x'],
    ['DELETE', '/v1/models/%3bx=1'],
    ['DELETE', '/v1/models/.;x'],
    ['DELETE', '/v1/models/\\'],
    ['DELETE', '/v1/models/a\\b'],
    ['GET', '/v1/models/.?a=b'],
    ['GET', '/v1/files/.'],
    ['GET', '/v1/models?/../../v1/files'.replace('?', '%3f')],
  ])('allow list: answers what it does not name with a 404: %s %s', (method, path) => {
    expect(refusal(() => checkAllowed(routes, method, path))).toMatchObject({ code: 'NOT_FOUND', statusCode: 404 });
  });

  it.each([
    ['GET', '/v1/chat/completions', 'POST'],
    ['POST', '/v1/models', 'GET, HEAD'],
    ['PUT', '/v1/models/gpt-5', 'GET, DELETE, HEAD'],
    ['get', '/v1/models', 'GET, HEAD'],
    ['TRACE', '/v1/models', 'GET, HEAD'],
    ['OPTIONS', '/v1/chat/completions', 'POST'],
  ])('allow list: answers another method with a 405 that names those it has: %s %s', (method, path, allow) => {
    const error = refusal(() => checkAllowed(routes, method, path));
    expect(error).toMatchObject({ code: 'METHOD_NOT_ALLOWED', statusCode: 405, headers: { allow } });
  });

  it('allow list: lets everything pass where it is not there, and nothing where it is empty', () => {
    expect(refusal(() => checkAllowed(undefined, 'BREW', '/../x'))).toBeUndefined();
    expect(refusal(() => checkAllowed([], 'GET', '/'))).toMatchObject({ code: 'NOT_FOUND' });
  });

  it.each(['', '/v1', 'POST', 'post /v1', 'POST v1', 'POST  /v1', 'POST /v1 /v2', 'POST,GET /v1', 'ALL /v1\n'])(
    'allow list: complains of what is no route: %j',
    (route) => {
      expect(() => parseRoutes([route])).toThrow(TypeError);
      expect(() => parseRoutes([route])).toThrow(route.trim());
    },
  );

  it.each(['GET /v1/*', 'GET /v1/:', 'GET /v1/{a', 'GET /v1/(.*)'])(
    'allow list: complains of a pattern that Express would not take: %s',
    (route) => {
      expect(() => parseRoutes([route])).toThrow(TypeError);
      expect(() => parseRoutes([route])).toThrow(route);
    },
  );
});
