import { createHash, createHmac, type Hash, type Hmac } from 'node:crypto';
import type { SignatureV4 } from '@smithy/signature-v4';
import type { Exchange } from '../../types/hooks.js';
import type { Provider, RequestToSign } from '../../types/provider.js';
import { isObject } from '../../util/checks.js';
import { pathOf } from '../../util/request-target.js';
import { optionalPackage } from '../optional-package.js';

/** Credentials of an AWS account, as AWS's own SDK has them. */
export interface AwsCredentials {
  accessKeyId: string;
  secretAccessKey: string;
  /** Of credentials that are temporary. */
  sessionToken?: string | undefined;
}

/**
 * AWS credentials, or a function that gives them per exchange, also as a promise: one of `@aws-sdk/credential-providers`, which renew
 * them in time, such as `fromNodeProviderChain()`.
 */
export type AwsCredentialsSource =
  | AwsCredentials
  | (() => AwsCredentials | Promise<AwsCredentials>)
  | ((exchange: Exchange) => AwsCredentials | Promise<AwsCredentials>);

/** The headers of a signature: those that a caller has sent do not travel. */
export const SIGNATURE_HEADERS = [
  'authorization',
  'x-amz-date',
  'x-amz-security-token',
  'x-amz-content-sha256',
] as const;

type Signer = typeof import('@smithy/signature-v4');
type Sha256Constructor = ConstructorParameters<typeof SignatureV4>[0]['sha256'];

export interface AwsSignatureOptions {
  /** The call, for errors. */
  call: string;
  /** As the signature names it. */
  service: string;
  region: string;
  /** Where requests go: the host and the path in front of theirs are signed, too. */
  target: string | URL;
  credentials: AwsCredentialsSource;
}

/**
 * The `sign` of a provider that authenticates by AWS's Signature Version 4, made by AWS's own signer. That takes a path as it is sent,
 * which the signature covers in its encoded form, once more encoded.
 *
 * @throws {Error} saying what to install, where the signer is missing
 */
export function signedByAws(options: AwsSignatureOptions): Required<Pick<Provider, 'sign'>> {
  const { call, service, region, credentials } = options;
  const { SignatureV4 } = optionalPackage<Signer>('@smithy/signature-v4', `\`credentials\` of ${call}()`);
  const target = new URL(options.target);
  const base = target.pathname.replace(/\/$/, '');
  return {
    async sign({ method, path, headers, body, exchange }) {
      if (body === undefined) throw new Error('The request body is too large to be signed, or a stream of its own');
      const given = await (typeof credentials === 'function' ? credentials(exchange) : credentials);
      const signer = new SignatureV4({
        service,
        region,
        credentials: checkedCredentials(call, given),
        sha256: Sha256 as Sha256Constructor,
      });
      const signed = await signer.sign({
        method,
        protocol: target.protocol,
        hostname: target.hostname,
        path: base + pathOf(path),
        query: queryOf(path),
        headers: { host: target.host, ...signable(headers) },
        body,
      });
      const wanted = Object.entries(signed.headers).filter(([name]) => SIGNATURE_HEADERS.includes(name as never));
      return Object.fromEntries(wanted);
    },
  };
}

/** Beside Host, AWS demands these. What is signed and changed later, such as by a hook, would make the signature invalid. */
function signable(headers: RequestToSign['headers']): Record<string, string> {
  const names = Object.keys(headers).filter((name) => name.startsWith('x-amz-'));
  return Object.fromEntries(names.map((name) => [name, [headers[name]].flat().join(', ')]));
}

function queryOf(path: string): Record<string, string | string[]> {
  const start = path.indexOf('?');
  const query: Record<string, string | string[]> = Object.create(null);
  if (start < 0) return query;
  const parameters = new URLSearchParams(path.slice(start));
  for (const name of new Set(parameters.keys())) query[name] = parameters.getAll(name);
  return query;
}

/**
 * AWS credentials as the signer takes them.
 *
 * @throws {TypeError} for what are none; they are not quoted
 */
export function checkedCredentials(call: string, given: unknown): Omit<AwsCredentials, 'sessionToken'> {
  if (isObject(given)) {
    const { accessKeyId, secretAccessKey, sessionToken } = given;
    if (isWord(accessKeyId) && isWord(secretAccessKey)) {
      return { accessKeyId, secretAccessKey, ...(isWord(sessionToken) && { sessionToken }) };
    }
  }
  throw new TypeError(`\`credentials\` of ${call}() must have \`accessKeyId\` and \`secretAccessKey\``);
}

function isWord(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

/** Node's SHA-256, as the signer takes one: with a key, the HMAC of it. */
class Sha256 {
  readonly #hash: Hash | Hmac;

  constructor(key?: string | NodeJS.ArrayBufferView) {
    this.#hash = key === undefined ? createHash('sha256') : createHmac('sha256', key);
  }

  update(data: string | NodeJS.ArrayBufferView): void {
    this.#hash.update(data as Uint8Array);
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }
}
