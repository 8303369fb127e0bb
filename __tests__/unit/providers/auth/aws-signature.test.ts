import { describe, expect, it, jest } from '@jest/globals';
import { AwsV4Signer } from 'aws4fetch';
import { signedByAws } from '../../../../lib/providers/auth/aws-signature.js';
import type { Exchange } from '../../../../lib/types/hooks.js';
import type { RequestToSign } from '../../../../lib/types/provider.js';
import { exchangeFor } from '../../../support/streams/dialects.js';

const credentials = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' };
const options = { call: 'bedrock', service: 'bedrock', region: 'us-east-1', credentials };
const HOST = 'https://bedrock-runtime.us-east-1.amazonaws.com';

function requestFor(path: string, members: Partial<RequestToSign> = {}): RequestToSign {
  return { method: 'POST', path, headers: {}, body: Buffer.from('{"a":1}'), exchange: exchangeFor(path), ...members };
}

/** The same request, signed by another signer at the same time. */
async function signedByAnother(
  url: string,
  given: Record<string, string>,
  { method, headers, body }: RequestToSign,
): Promise<string | null> {
  const { authorization, ...signed } = given;
  const datetime = given['x-amz-date'] as string;
  const own = Object.entries(headers).filter(([name]) => name.startsWith('x-amz-')) as [string, string][];
  const signer = new AwsV4Signer({
    method,
    url,
    headers: { ...Object.fromEntries(own), ...signed },
    body: new Uint8Array(body as Buffer),
    ...credentials,
    sessionToken: given['x-amz-security-token'] as string,
    service: 'bedrock',
    region: 'us-east-1',
    datetime,
  });
  return (await signer.sign()).headers.get('authorization');
}

describe('the signature of AWS', () => {
  it.each<[string, string, Partial<RequestToSign>]>([
    ['a path with an escaped colon', '/model/anthropic.claude-3%3A0/converse-stream', {}],
    ['a path with a colon as it is', '/model/anthropic.claude-3:0/converse', {}],
    ['an ARN', '/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/invoke', {}],
    ['a query', '/guardrail/a/version/1/apply?b=2&a=1&a=%20x&c', {}],
    ['no body', '/async-invoke', { method: 'GET', body: Buffer.alloc(0) }],
    ['headers of the caller', '/model/m/invoke', { headers: { accept: '*/*', 'x-amz-user-agent': 'aws-sdk-js/3' } }],
  ])('AWS signature: is what another signer makes of it: %s', async (_what, path, members) => {
    const request = requestFor(path, members);
    const given = await signedByAws({ ...options, target: HOST }).sign(request);
    expect(Object.keys(given).sort()).toEqual(['authorization', 'x-amz-content-sha256', 'x-amz-date']);
    expect(given.authorization).toMatch(/^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d{8}\/us-east-1\/bedrock\//);
    expect(given.authorization).toBe(await signedByAnother(HOST + path, given, request));
  });

  it('AWS signature: covers the token of temporary credentials, which a function may give for the exchange', async () => {
    const source = jest.fn(async (_exchange: Exchange) => ({
      ...credentials,
      sessionToken: 'token',
      expiration: new Date(),
    }));
    const request = requestFor('/model/m/invoke');
    const given = await signedByAws({ ...options, target: HOST, credentials: source }).sign(request);
    expect(given['x-amz-security-token']).toBe('token');
    expect(given.authorization).toContain('SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token');
    expect(given.authorization).toBe(await signedByAnother(`${HOST}/model/m/invoke`, given, request));
    expect(source).toHaveBeenCalledWith(request.exchange);
  });

  it('AWS signature: covers port and path of the target', async () => {
    const request = requestFor('/model/m/invoke?a=1');
    const given = await signedByAws({ ...options, target: 'http://127.0.0.1:8080/base/' }).sign(request);
    const url = 'http://127.0.0.1:8080/base/model/m/invoke?a=1';
    expect(given.authorization).toBe(await signedByAnother(url, given, request));
  });

  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['no secret', { accessKeyId: 'AKIDEXAMPLE' }],
    ['an empty secret', { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: '' }],
    ['what is no text', { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 5 }],
  ])('AWS signature: refuses credentials that are %s, and does not quote them', async (_what, given) => {
    const { sign } = signedByAws({ ...options, target: HOST, credentials: (() => given) as () => typeof credentials });
    const failure = await Promise.resolve(sign(requestFor('/'))).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(TypeError);
    expect(String(failure)).toContain('must have `accessKeyId` and `secretAccessKey`');
    expect(String(failure)).not.toContain('AKID');
  });

  it('AWS signature: refuses a body that is not there as a whole', async () => {
    const { sign } = signedByAws({ ...options, target: HOST });
    await expect(sign(requestFor('/', { body: undefined }))).rejects.toThrow('too large to be signed');
  });
});
