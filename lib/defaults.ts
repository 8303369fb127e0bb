/*
 * Every default of an option, and every fixed limit of the package, each with its reason. Times are in milliseconds, sizes in bytes.
 * The thresholds of the fast path stand with its tricks (`fast-path/`).
 */

const KB = 1024;
const MB = 1024 * KB;

// --- defaults of options --------------------------------------------------------------------------------------------

/**
 * `timeouts`. A provider that thinks is silent for long, so that two minutes are given to a head and to each read; a connection that
 * takes ten seconds never comes. `total` is off, since streams of an hour are in order.
 */
export const DEFAULT_TIMEOUTS = {
  connect: 10_000,
  headers: 120_000,
  idle: 120_000,
  drain: 120_000,
  total: false,
} as const;

/** `retry`: undici's defaults, but for the status codes and errors of AI APIs (529 is Anthropic's "overloaded"). */
export const DEFAULT_RETRY = {
  /** The idempotent ones (RFC 9110 9.2.2). A provider adds POST. */
  methods: ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'],
  statusCodes: [429, 500, 502, 503, 504, 529],
  errorCodes: [
    'ECONNRESET',
    'ECONNREFUSED',
    'ENOTFOUND',
    'EAI_AGAIN',
    'ENETDOWN',
    'ENETUNREACH',
    'EHOSTDOWN',
    'EHOSTUNREACH',
    'EPIPE',
    'ETIMEDOUT',
    'UPSTREAM_CONNECT_TIMEOUT',
    'UPSTREAM_CLOSED',
  ],
  maxRetries: 2,
  minTimeout: 500,
  maxTimeout: 30_000,
  timeoutFactor: 2,
  retryAfter: true,
  /** A prompt is smaller; what is larger (a file) is not worth the memory. */
  maxBodySize: '1mb',
};

/** `limits.eventSize`: events of text are a few KB. */
export const DEFAULT_EVENT_SIZE = '1mb';

/** `limits.queue`: nobody waits where nobody asked for it, and who does no longer than a user would. */
export const DEFAULT_QUEUE = { size: 0, timeout: 10_000 } as const;

/** `via: true`: a pseudonym, since the name of a host within a firewall is nobody's business (RFC 9110 7.6.3). */
export const DEFAULT_PSEUDONYM = 'express-sse-proxy';

/** `heartbeat`: below the shortest idle timeouts of load balancers and of SDKs (20 s). */
export const DEFAULT_HEARTBEAT = { interval: 15_000, comment: 'ping' } as const;

/** `drain({ grace })`: what orchestrators wait between SIGTERM and SIGKILL. */
export const DEFAULT_GRACE = 30_000;

// --- limits of the client's side ------------------------------------------------------------------------------------

/** How long a client may take nothing of what was written for it before it is cut off. */
export const LINGER = 5_000;

/** How long a client that is still sending has to read a response that its connection, or stream, ends with. */
export const UPLOAD_LINGER = 1_000;

/** How long an HTTP/2 stream that is cut may take to deliver what was written before, however slowly it moves. */
export const STREAM_LINGER = 60_000;

/** How many early hints are passed on with one response. They are not waited for, and an upstream could send them without end. */
export const MAX_HINTS = 100;

/** What is kept of what a client sends before its WebSocket is answered. By RFC 6455 4.1 it sends nothing. */
export const EARLY_BYTES = 64 * KB;

/** When an EventSource is to come back to a proxy that was drained: another instance may be there by then. */
export const RECONNECT_AFTER = 1_000;

// --- limits of one exchange -----------------------------------------------------------------------------------------

/**
 * How much is read on, and for how long, of an answer whose client has left (`onClientClose: 'continue'`): all of what a model writes,
 * and no stream without end.
 */
export const CONTINUE_BYTES = 64 * MB;
export const CONTINUE_TIME = 5 * 60_000;

/**
 * The same of an answer whose client has left at the end of its dialect (`[DONE]`, `message_stop`): what is left is the end of the body,
 * and with that the upstream's connection can be used again. A new one would cost more than this wait.
 */
export const SETTLE_BYTES = 64 * KB;
export const SETTLE_TIME = 250;

/**
 * How long an `error` listener may take to answer a failure in the place of the proxy (docs/errors.md). Those that declare a response
 * among their parameters are waited for.
 */
export const LISTENER_ANSWER_TIME = 5_000;

/**
 * How long nothing may move before that is told as a stall. Models pause for less between two tokens, and what is in front of a proxy
 * closes a silent connection after 60 s: there is time left to see why.
 */
export const STALLED_AFTER = 10_000;

/** How often the exchanges are looked at for stalls, which is how late one of them may be told. */
export const STALL_INTERVAL = 1_000;

/** How long the event loop may be blocked before that is told as a stall: it holds up all exchanges at once. */
export const BLOCKED_AFTER = 1_000;

/** How often the delay of the event loop is measured for that. */
export const EVENT_LOOP_RESOLUTION = 100;

/** The most targets that one exchange turns to, whatever `fallbacks` says as a function: it may name the same one for ever. */
export const MAX_ROUTES = 10;

/** Failures in a row that open the circuit of a target, and how long it stays open before one request may probe the target. */
export const CIRCUIT_THRESHOLD = 5;
export const CIRCUIT_OPEN_FOR = 30_000;

/** The longest delay of a timer of Node's: with a longer one it fires at once. */
export const LONGEST_DELAY = 2 ** 31 - 1;

/** How often a path is decoded to see where an upstream may take it. Decoded more often than this, a path means no good. */
export const MAX_DECODINGS = 4;

// --- limits of bodies -----------------------------------------------------------------------------------------------

/** Request bodies up to this size are kept, to be sent once more when a pooled connection turns out to be dead. */
export const STALE_LIMIT = 256 * KB;

/** `commit: 'first-content'`: how many events are looked past, and for how long, from the first on (milliseconds). */
export const LOOK_PAST = { events: 100, time: 10_000 } as const;

/** How long a write that has failed waits for the first byte of what its peer may have said. Milliseconds; the end of the connection comes before. */
export const EARLY_ANSWER_TIME = 1_000;

/** A token that is about to expire would be refused on its way. Milliseconds. */
export const TOKEN_MARGIN = 60_000;

/** How long others wait for a token that one request has asked for, before the next asks anew. Milliseconds. */
export const TOKEN_PATIENCE = 10_000;

/** How much of a JSON request body is looked through for what it asks for (`summary.requestModel`). */
export const ASKED_LIMIT = 64 * KB;

/** No name of a model is longer, in characters. */
export const LONGEST_MODEL = 256;

/** How long a pooled connection may be idle before it may be dead: servers close theirs after seconds. */
export const STALE_AFTER = 1_000;

/** How much of a request body is sent with `followRedirects`, unless `limits.requestBody` says more: httpxy keeps all of it in memory. */
export const REDIRECTED_BODY = 64 * MB;

/** The most that is read of a request body for a provider to change it. What is larger is sent as it came. */
export const EDIT_LIMIT = 10 * MB;

/** What is gathered in one tick before it is sent at once. */
export const COALESCE_LIMIT = 64 * KB;

/** How long the stages of a body may take to hand over what it had brought before it broke off. */
export const BODY_LINGER = 5_000;

/** The same where the time of the whole exchange is up: what is in a decoder just now, and nothing that a hook is waited for. */
export const LATE_BODY_LINGER = 50;

/** How large a piece of a body is written at once. A client that takes some of a large event, again and again, is seen to read. */
export const WRITE_SIZE = 64 * KB;

/**
 * Coded bytes that may wait to be decoded for observers, or as many as `limits.eventSize` where that is more. Beyond that they cannot
 * keep up, and must not hold up the stream.
 */
export const DECODER_BACKLOG = 256 * KB;

/** What may still come out of a decoder when the stream has ended: some codings make gigabytes of a kilobyte. */
export const DECODED_REST = 64 * MB;

/** RFC 9659: the window of zstd is 8 MiB at the most. Node would allow 128 MiB, and it stays in memory as long as the stream. */
export const ZSTD_WINDOW_LOG = 23;

/**
 * How much of one event passes unread: several images. What is longer is no event, and finding its end is not worth decoding a
 * compression bomb.
 */
export const LARGE_EVENT = 32 * MB;

/**
 * What is read of an event in JSON that is above `limits.eventSize`: the beginning of each string, arrays up to a size (images and
 * embeddings are above), all of the rest. The figures that it may have are a few hundred bytes.
 */
export const ABRIDGED_TEXT = KB;
export const ABRIDGED_LIST = 16 * KB;
export const ABRIDGED_SIZE = 256 * KB;
export const ABRIDGED_DEPTH = 1_000;

/** How much of an error event is kept for logs. In characters. */
export const ERROR_EVENT_TEXT = 1_000;

/** Media types that are remembered as parsed: an upstream has a handful of them. */
export const KNOWN_TYPES = 100;

// --- limits of what is told -----------------------------------------------------------------------------------------

/** Characters of one error in a log: a stack of some dozen frames, and those of its causes. */
export const ERROR_TEXT = 8 * KB;

/** Characters of a cause's message on the console: what made a connection fail is said in a line. */
export const CAUSE_TEXT = 300;

/** Errors that are remembered as told on the console. Which are the same is said by their text, which anything may be part of. */
export const DISTINCT_ERRORS = 100;

// --- limits of secrets ----------------------------------------------------------------------------------------------

/** What is shorter is no secret, and would be found everywhere. */
export const MIN_SECRET_LENGTH = 8;

/** How far the causes of an error are followed to mask what they say. */
export const MAX_CAUSES = 10;

/** The answers that were seen to begin and not to end, of which a proxy remembers the ids: about a megabyte of them. */
export const UNSETTLED_ANSWERS = 10_000;
