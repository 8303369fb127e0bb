import { isErrorStatus } from '../../errors.js';
import type { EventFields, Exchange, StreamEvent } from '../../types/hooks.js';
import type { ProviderFailure } from '../../types/provider.js';
import { isObject } from '../../util/checks.js';
import { member, word } from './figures.js';

/**
 * The SDKs throw where a chunk has an `error`. In Responses they throw at an event of the type `error`, and agents wait for a response that
 * has failed. Its events are numbered.
 *
 * @param last the last event that the client was sent
 */
export function errorEvent(
  failure: ProviderFailure,
  { path }: Exchange,
  last?: StreamEvent | undefined,
): EventFields | EventFields[] {
  const body = errorBody(failure);
  if (!/^[^?]*\/responses\/?(\?|$)/.test(path)) return { data: JSON.stringify(body) };
  const { code, message } = failure;
  const number = member(last?.json(), 'sequence_number');
  const next = Number.isSafeInteger(number) ? Number(number) + 1 : 0;
  return [
    typed({ type: 'error', sequence_number: next, code, message, param: null, ...body }),
    typed({
      type: 'response.failed',
      sequence_number: next + 1,
      response: { object: 'response', status: 'failed', error: { code, message }, output: [] },
    }),
  ];
}

function typed(payload: { type: string; [member: string]: unknown }): EventFields {
  return { event: payload.type, data: JSON.stringify(payload) };
}

/** In Responses, and where the error is the event itself, it stands in other places than in the body of an error response. */
export function errorBodyOf(event: StreamEvent): { error: object } | undefined {
  if (isObject(member(event.json(), 'error'))) return undefined;
  const error = errorIn(event);
  return error && { error };
}

/** The members of OpenAI's error objects. */
interface OpenAIError {
  message: string;
  type: string;
  param: unknown;
  code: unknown;
}

/** What an event tells of an error, wherever it stands: in `error`, in the `error` of a `response`, or in the event itself. */
export function errorIn(event: StreamEvent): OpenAIError | undefined {
  const payload = event.json();
  const error = [member(payload, 'error'), member(member(payload, 'response'), 'error')].find(isObject) ?? payload;
  const message = word(member(error, 'message'));
  if (message === undefined) return undefined;
  const type = word(member(error, 'type'));
  // The type of an event of Responses is `error`, which says no more than that it is one.
  const isNamed = type !== undefined && type !== 'error';
  const { param = null, code = null } = error as Partial<OpenAIError>;
  return { message, type: isNamed ? type : 'server_error', param, code };
}

/** The status that an error has where it is not inside a 200, by its code or type. */
const STATUSES = new Map<unknown, number>([
  ['invalid_request_error', 400],
  ['invalid_api_key', 401],
  ['authentication_error', 401],
  ['permission_error', 403],
  ['not_found_error', 404],
  ['rate_limit_error', 429],
  ['rate_limit_exceeded', 429],
  ['rate_limited', 429],
  ['requests', 429],
  ['tokens', 429],
  ['insufficient_quota', 429],
  ['server_error', 500],
  ['engine_overloaded', 503],
  ['overloaded', 503],
]);

/** What an error has by its looks. Every event of a stream is asked, and parsing them would be most of the cost. */
const ERROR = /"error"(?!\s*:\s*null\b)|"response\.failed"/;

/**
 * Of a chunk with an `error`, or one that is an error by its `object` (vLLM, Mistral) or the type of its event; in Responses, of an
 * `error` event or a response that has failed.
 */
export function errorStatus(event: StreamEvent): number | undefined {
  if (event.event !== 'error' && !ERROR.test(event.data)) return undefined;
  const payload = event.json();
  const isError =
    event.event === 'error' ||
    member(payload, 'type') === 'error' ||
    member(payload, 'object') === 'error' ||
    member(payload, 'type') === 'response.failed';
  const error =
    member(payload, 'error') || member(member(payload, 'response'), 'error') || (isError && (payload ?? {}));
  if (!error) return undefined;
  const code = member(error, 'code');
  // Some servers put the status there; Azure as a string.
  const status = typeof code === 'string' && /^\d{3}$/.test(code) ? Number(code) : code;
  if (isErrorStatus(status)) return status;
  return STATUSES.get(code) ?? STATUSES.get(member(error, 'type')) ?? 502;
}

export function errorBody({ message, code }: ProviderFailure): { error: object } {
  return { error: { message, type: 'proxy_error', param: null, code } };
}
