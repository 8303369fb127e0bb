import { describe, expect, it } from '@jest/globals';
import { secretsIn, secretsOfProvider } from '../../../lib/credentials/own-credentials.js';
import { KnownSecrets } from '../../../lib/credentials/secrets.js';
import { openai } from '../../../lib/providers/index.js';

const KEY = 'sk-7Qz9LmXw2RtYbN4v';
const base64 = (text: string): string => Buffer.from(text).toString('base64');

describe('secretsIn', () => {
  it.each<[string, object, string[]]>([
    ['Bearer', { Authorization: `Bearer ${KEY}` }, [KEY]],
    [
      'another scheme',
      { authorization: `AWS4-HMAC-SHA256 Credential=${KEY}, Signature=1` },
      [`Credential=${KEY}, Signature=1`],
    ],
    ['no scheme', { authorization: ` ${KEY} ` }, [KEY]],
    ['Basic, with user and password', { authorization: `basic ${base64('a:b:c')}` }, [base64('a:b:c'), 'a:b:c', 'b:c']],
    ['Basic, with a key for the user', { 'proxy-authorization': `Basic ${base64('a:')}` }, [base64('a:'), 'a:', 'a']],
    ['cookies, with each value', { Cookie: 'a=1; b=x=y' }, ['a=1; b=x=y', '1', 'x=y']],
    ['a key', { 'X-Api-Key': KEY, 'api-key': `${KEY}2`, 'x-goog-api-key': `${KEY}3` }, [KEY, `${KEY}2`, `${KEY}3`]],
    ['several lines', { 'x-auth-token': [KEY, `${KEY}2`] }, [KEY, `${KEY}2`]],
    [
      'nothing in other headers',
      { 'idempotency-key': KEY, 'x-token-count': '5', authority: KEY, 'x-request-id': KEY },
      [],
    ],
  ])('own credentials: the secrets of headers: %s', (_what, headers, expected) => {
    expect(secretsIn(headers)).toEqual(expected);
  });

  it('own credentials: the secrets of `auth`', () => {
    expect(secretsIn(undefined, 'a:b')).toEqual([base64('a:b'), 'a:b', 'b']);
  });

  it('own credentials: the secrets of nothing are the same every time', () => {
    expect(secretsIn(undefined)).toBe(secretsIn(undefined, undefined));
  });

  it('own credentials: the secrets of a provider are found once', () => {
    const provider = { ...openai({ apiKey: 'sk' }), headers: { 'api-key': KEY } };
    expect(secretsOfProvider(provider)).toEqual([KEY]);
    expect(secretsOfProvider(provider)).toBe(secretsOfProvider(provider));
    expect(secretsOfProvider(undefined)).toEqual([]);
  });
});

describe('KnownSecrets', () => {
  it('known secrets: are those of the request before, where that had the same', () => {
    const known = new KnownSecrets();
    const first = known.of({ authorization: `Bearer ${KEY}` }, ['other-secret']);
    expect(known.of({ authorization: `Bearer ${KEY}` }, ['other-secret'])).toBe(first);
    expect(first?.mask(`${KEY} other-secret`)).toBe('******************* ************');
  });

  it.each<[Record<string, string> | undefined, string[]]>([
    [{ authorization: 'Bearer another-key' }, ['other-secret']],
    [{ authorization: `Bearer ${KEY}` }, ['another-secret']],
    [{ authorization: `Bearer ${KEY}` }, []],
    [undefined, [`Bearer ${KEY}`, 'other-secret']],
  ])('known secrets: are prepared anew for others: %p %p', (credentials, others) => {
    const known = new KnownSecrets();
    const first = known.of({ authorization: `Bearer ${KEY}` }, ['other-secret']);
    const second = known.of(credentials, others);
    expect(second).not.toBe(first);
    for (const secret of [...Object.values(credentials ?? {}), ...others])
      expect(second?.mask(secret)).toMatch(/\*{8}$/);
  });

  it('known secrets: are none where there is nothing to mask', () => {
    const known = new KnownSecrets();
    expect(known.of(undefined, [])).toBeUndefined();
    expect(known.of({}, ['short'])).toBeUndefined();
  });
});
