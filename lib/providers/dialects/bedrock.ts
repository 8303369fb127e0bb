import { isErrorStatus } from '../../errors.js';
import { first } from '../../headers/header-values.js';
import { essenceOf } from '../../headers/media-type.js';
import type { Exchange, StreamEvent } from '../../types/hooks.js';
import type { ProviderFailure, Reading } from '../../types/provider.js';
import { AMAZON_EVENT_STREAM_TYPE, amazonEventStream, ERROR_FRAME } from '../formats/amazon-event-stream.js';
import { readInvocation, readInvocationChunk, rememberCounts } from './bedrock-invocation.js';
import { readConverse, readConverseEvent } from './converse.js';
import type { Dialect } from './dialect.js';
import { member, word } from './figures.js';

/** Amazon Bedrock's own API: Converse, which is the same for all models, and invocations, whose bodies are each vendor's own. */
export const bedrockDialect: Dialect = {
  read,
  formatOf(head, exchange) {
    rememberCounts(head, exchange);
    const isEventStream = essenceOf(first(head.headers['content-type'])) === AMAZON_EVENT_STREAM_TYPE;
    return isEventStream ? amazonEventStream : undefined;
  },
  // Never sent into one of Amazon's event streams, which are not written here.
  errorEvent: (failure) => ({ event: 'error', data: JSON.stringify(errorBody(failure)) }),
  errorBody,
  errorBodyOf,
  errorStatus,
};

function read(event: StreamEvent, reading: Reading, exchange: Exchange): void {
  const { event: type } = event;
  if (exceptionOf(event) !== undefined) reading.usageComplete = false;
  else if (type === 'chunk') readInvocationChunk(event, reading, exchange);
  else if (type !== undefined) readConverseEvent(type, event, reading);
  else if (!readConverse(event.json(), reading)) readInvocation(event, reading, exchange);
}

/** The statuses that the exceptions have where they are not inside a 200. */
const STATUSES = new Map<string, number>([
  ['validationException', 400],
  ['conflictException', 400],
  ['serviceQuotaExceededException', 400],
  ['accessDeniedException', 403],
  ['resourceNotFoundException', 404],
  ['modelTimeoutException', 408],
  ['modelErrorException', 424],
  ['modelStreamErrorException', 424],
  ['throttlingException', 429],
  ['modelNotReadyException', 429],
  ['internalServerException', 500],
  ['serviceUnavailableException', 503],
]);

/** The name of the exception that an event is; empty where it has none; `undefined` for any other event. */
function exceptionOf(event: StreamEvent): string | undefined {
  const { event: type } = event;
  if (type === ERROR_FRAME) return word(member(event.json(), 'code')) ?? '';
  return type?.endsWith('Exception') === true ? type : undefined;
}

function errorStatus(event: StreamEvent): number | undefined {
  const name = exceptionOf(event);
  if (name === undefined) return undefined;
  // What a model's own server has answered.
  const original = member(event.json(), 'originalStatusCode');
  if (isErrorStatus(original)) return original;
  return STATUSES.get(name.slice(0, 1).toLowerCase() + name.slice(1)) ?? 502;
}

/** As the SDKs know it: the exception's name and its message. */
function errorBodyOf(event: StreamEvent): object | undefined {
  const name = exceptionOf(event);
  if (name === undefined) return undefined;
  const message = word(member(event.json(), 'message')) ?? event.data;
  return name === '' ? { message } : { __type: name.slice(0, 1).toUpperCase() + name.slice(1), message };
}

/** The names by which the SDKs know a status. */
const EXCEPTIONS: Record<number, string> = {
  403: 'AccessDeniedException',
  404: 'ResourceNotFoundException',
  408: 'ModelTimeoutException',
  429: 'ThrottlingException',
  503: 'ServiceUnavailableException',
};

function errorBody({ message, statusCode }: ProviderFailure): { __type: string; message: string } {
  const other = statusCode < 500 ? 'ValidationException' : 'InternalServerException';
  return { __type: EXCEPTIONS[statusCode] ?? other, message };
}
