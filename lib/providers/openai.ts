import type { Exchange, StreamEvent } from '../types/hooks.js';
import type { Provider, RequestEdit } from '../types/provider.js';
import { aBoolean, aString, aText, check, isObject } from '../util/checks.js';
import { type ApiKey, bearer, keyIn, type ProviderOptions } from './auth/api-key.js';
import { checkProviderOptions } from './auth/check-options.js';
import { speaking } from './dialects/by-path.js';
import { member } from './dialects/figures.js';
import { openaiDialect } from './dialects/openai.js';

/** Options of {@link openaiCompatible}. */
export interface OpenAICompatibleOptions {
  /** A name for logs and metrics. */
  name: string;
  /** Where the API is, without its `/v1`: what Express leaves of the request's path is appended. */
  target: string;
  /** Sent as `Authorization: Bearer ...`. */
  apiKey: ApiKey | undefined;
  /**
   * How the key is sent: in which header, and behind which word.
   *
   * @default { header: 'authorization', scheme: 'Bearer' }; with a `header` of its own, no scheme
   */
  auth?: { header?: string; scheme?: string };
  /**
   * Asks for the usage of completions that stream, which is not reported by itself: `stream_options.include_usage` is
   * added to the request, and the chunk that comes of it is taken out of the answer again. Clients that have asked for it
   * by themselves get it. Default: `false`.
   */
  includeUsage?: boolean;
}

/** Options of {@link openai}. */
export interface OpenAIOptions extends ProviderOptions {
  /** See {@link OpenAICompatibleOptions.includeUsage}. */
  includeUsage?: boolean;
  /** Sent as `OpenAI-Organization`. */
  organization?: string;
  /** Sent as `OpenAI-Project`. */
  project?: string;
}

/**
 * OpenAI: Chat Completions, Responses, and what else of its API answers with a `usage` object. The key is sent as
 * `Authorization: Bearer ...`.
 *
 * @throws {TypeError} without a key, or for one that cannot be in a header field
 */
export function openai(options: OpenAIOptions = {}): Provider {
  checkProviderOptions('openai', options, { includeUsage: aBoolean, organization: aText, project: aText });
  const { target = 'https://api.openai.com', apiKey, includeUsage, organization, project } = options;
  const account = {
    ...(organization !== undefined && { 'openai-organization': organization }),
    ...(project !== undefined && { 'openai-project': project }),
  };
  return {
    ...openaiMembers(includeUsage),
    ...keyIn('openai', (key) => ({ ...bearer(key), ...account }), apiKey),
    name: 'openai',
    target,
  };
}

/**
 * Any API that speaks OpenAI's: vLLM, LiteLLM, OpenRouter, Groq, Together, and so on.
 *
 * @throws {TypeError} without `name`, `target` or `apiKey`
 */
export function openaiCompatible(options: OpenAICompatibleOptions): Provider {
  const { name, target, apiKey, auth, includeUsage } = options ?? {};
  for (const [option, value] of Object.entries({ name, target })) {
    if (typeof value !== 'string' || value === '')
      throw new TypeError(`openaiCompatible() needs \`${option}\`, a string`);
  }
  checkProviderOptions('openaiCompatible', options, { name: aString, includeUsage: aBoolean, auth: anAuth });
  return { ...openaiMembers(includeUsage), ...keyIn('openaiCompatible', keyField(auth), apiKey), name, target };
}

const anAuth = check(
  'an object with `header`, `scheme` or both, as words',
  (value) =>
    isObject(value) &&
    Object.entries(value).every(
      ([name, word]) => ['header', 'scheme'].includes(name) && (word === undefined || isToken(word)),
    ),
);

/** A token of RFC 9110 5.6.2: neither a header's name nor a scheme may have anything else. */
function isToken(word: unknown): boolean {
  return typeof word === 'string' && /^[!#$%&'*+.^_`|~\w-]+$/.test(word);
}

function keyField({ header = 'authorization', scheme }: NonNullable<OpenAICompatibleOptions['auth']> = {}) {
  const word = scheme ?? (header.toLowerCase() === 'authorization' ? 'Bearer' : undefined);
  return (key: string): Record<string, string> => ({
    [header.toLowerCase()]: word === undefined ? key : `${word} ${key}`,
  });
}

/** What a provider with OpenAI's API has beside its name, its address and its key. */
export function openaiMembers(includeUsage = false): Omit<Provider, 'name' | 'target' | 'credentials'> {
  return { ...speaking(openaiDialect), ...(includeUsage && { editRequest: askForUsage }) };
}

/** `stream_options` is known to Chat Completions and to Completions, and only where they stream. */
function askForUsage(body: string, exchange: Exchange): RequestEdit | undefined {
  if (!/^[^?]*\/completions\/?(\?|$)/.test(normalized(exchange.path))) return undefined;
  const request = parseObject(body);
  if (request?.stream !== true) return undefined;
  const { stream_options: given } = request;
  if (hasAsked(request)) return undefined;
  const options = { ...(typeof given === 'object' && given), include_usage: true };
  return { body: withStreamOptions(body, request, options), isExtra: isUsageChunk };
}

/** With the letters and digits that need no escape in a path as they are (RFC 3986 6.2.2.2). */
function normalized(path: string): string {
  return path.replace(/%[4-7][0-9a-f]/gi, (escaped) => {
    const character = String.fromCharCode(Number.parseInt(escaped.slice(1), 16));
    return /[a-z]/i.test(character) ? character : escaped;
  });
}

function hasAsked(request: unknown): boolean {
  return member(member(request, 'stream_options'), 'include_usage') === true;
}

/** All else keeps its bytes, and numbers their digits, unless it cannot be told by looks where the old options are. */
function withStreamOptions(body: string, request: object, options: object): string {
  const text = JSON.stringify(options);
  if (!('stream_options' in request)) return body.replace('{', `{"stream_options":${text},`);
  const edited = body.replace(/("stream_options"\s*:\s*)(null|\{[^{}]*\})/, (_found, name) => name + text);
  return hasAsked(parseObject(edited)) ? edited : JSON.stringify({ ...request, stream_options: options });
}

/** The chunk that `include_usage` adds: it has usage, and no choices, which may be absent or null. */
function isUsageChunk(event: StreamEvent): boolean {
  if (!/"usage"\s*:\s*\{/.test(event.data)) return false;
  const payload = event.json();
  const choices = member(payload, 'choices') ?? [];
  const isAlone = Array.isArray(choices) && choices.length === 0 && !member(payload, 'error');
  return isAlone && isObject(member(payload, 'usage'));
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
