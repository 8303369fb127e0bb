import type { Provider } from '../types/provider.js';
import { check, isObject } from '../util/checks.js';
import { withoutParameter } from '../util/request-target.js';
import { type ApiKey, bearer, keyIn } from './auth/api-key.js';
import { type AwsCredentialsSource, checkedCredentials, SIGNATURE_HEADERS, signedByAws } from './auth/aws-signature.js';
import { checkProviderOptions } from './auth/check-options.js';
import { bedrockDialect } from './dialects/bedrock.js';
import { speaking } from './dialects/by-path.js';

/** Options of {@link bedrock}. */
export interface BedrockOptions {
  /** The AWS region, such as `us-east-1`. */
  region: string;
  /**
   * A Bedrock API key, sent as `Authorization: Bearer ...`; see {@link ProviderOptions.apiKey}. Default: that of
   * `AWS_BEARER_TOKEN_BEDROCK`, unless there are `credentials`.
   */
  apiKey?: ApiKey | undefined;
  /**
   * Credentials of the account instead of an API key: each request is signed with them (Signature Version 4), which needs the package
   * `@smithy/signature-v4`. A body above 10 MiB cannot be signed, and is not sent.
   */
  credentials?: AwsCredentialsSource | undefined;
  /**
   * Default: `https://bedrock-runtime.{region}.amazonaws.com`. Requests are signed for this address: another one is to be given here, and
   * not to `createSseProxy`.
   */
  target?: string;
}

/** The parameters of a signature in the query. */
const SIGNATURE_PARAMETERS = [
  'X-Amz-Algorithm',
  'X-Amz-Credential',
  'X-Amz-Date',
  'X-Amz-Expires',
  'X-Amz-Security-Token',
  'X-Amz-Signature',
  'X-Amz-SignedHeaders',
];

/** A region becomes a part of a host's name. */
const aRegion = check(
  'the name of an AWS region, such as us-east-1',
  (value) => typeof value === 'string' && /^[a-z\d]+(-[a-z\d]+)*$/.test(value),
);

const credentialsOfAws = check(
  'an object with `accessKeyId` and `secretAccessKey`, or a function that gives one',
  (value) => typeof value === 'function' || isObject(value),
);

/**
 * Amazon Bedrock: Converse and invocations of models, streamed or in one piece, and what is OpenAI's below `/openai/v1`.
 *
 * Amazon's event streams are relayed and read, which needs the package `@smithy/eventstream-codec`, and nothing is put into them: no
 * heartbeat, no error event, no `transformEvent`.
 *
 * @throws {TypeError} without a region, without a key or credentials, with both, or for a key that cannot be in a header field
 * @throws {Error} with `credentials` and without the package that they need
 */
export function bedrock(options: BedrockOptions): Provider {
  checkProviderOptions('bedrock', options, { region: aRegion, credentials: credentialsOfAws });
  const { region, apiKey, credentials } = options ?? {};
  if (region === undefined) throw new TypeError("bedrock() needs `region`, such as bedrock({ region: 'us-east-1' })");
  if (apiKey !== undefined && credentials !== undefined) {
    throw new TypeError('bedrock() takes either `apiKey` or `credentials`');
  }
  const target = options.target ?? `https://bedrock-runtime.${region}.amazonaws.com`;
  const speech = speaking(bedrockDialect);
  const place = { name: 'aws.bedrock', target };
  // Callers who authenticate by themselves may have signed their request.
  if (apiKey === false) return { ...speech, ...place };
  if (credentials !== undefined && typeof credentials !== 'function') checkedCredentials('bedrock', credentials);
  return {
    ...speech,
    ...(credentials === undefined
      ? keyIn('bedrock', bearer, apiKey)
      : signedByAws({ call: 'bedrock', service: 'bedrock', region, target, credentials })),
    ...place,
    withheld: { ...speech.withheld, request: SIGNATURE_HEADERS },
    rewritePath: (path) => ['key', ...SIGNATURE_PARAMETERS].reduce(withoutParameter, path),
  };
}
