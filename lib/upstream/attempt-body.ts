import type { ClientRequest, IncomingMessage } from 'node:http';
import { PassThrough, type Readable } from 'node:stream';
import { ASKED_LIMIT, STALE_LIMIT } from '../defaults.js';
import { codingOf } from '../headers/content-coding.js';
import { hasBody } from '../headers/framing.js';
import { BodyBeginning } from '../request/body-beginning.js';
import { BodyCapture } from '../request/body-capture.js';
import { limitBody } from '../request/body-limit.js';
import { takeWhole } from '../request/read-body.js';
import { readAsBytes } from '../request/reader-encodings.js';
import { knownSize, ReplayedBody, type RequestBody } from '../request/replayed-body.js';

/** A stream of the user's (`buffer`) that is sent instead of the request's body. */
export interface OwnBody {
  readonly stream: Readable;
  /** The stream is the same for every request (`buffer` of the options): what was sent of it cannot be sent again. */
  readonly isShared: boolean;
}

export interface AttemptBodyOptions {
  req: IncomingMessage;
  /** What is sent. */
  content: RequestBody;
  /** How much of the body is kept, so that another attempt can be made; `undefined` where none would be. */
  keptBytes: number | undefined;
  /** The beginning of the body is kept until the head has come, to tell what was asked. */
  keepsBeginning: boolean;
}

/** The request body of one attempt: what is sent, and what of it can be sent again. */
export class AttemptBody {
  /** How much of the body is kept, so that another attempt can be made; `undefined` where none would be. */
  readonly keptBytes: number | undefined;
  readonly #keepsBeginning: boolean;
  readonly #req: IncomingMessage;
  /** What is sent, unless there is an own body. */
  #content: RequestBody;
  #own: OwnBody | undefined;
  #capture: BodyCapture | undefined;
  #beginning: BodyBeginning | undefined;
  #stopLimit: (() => void) | undefined;
  /** See {@link hold}. */
  #held: PassThrough | undefined;
  #hasStarted = false;

  constructor({ req, content, keptBytes, keepsBeginning }: AttemptBodyOptions) {
    this.#req = req;
    this.#content = content;
    this.keptBytes = keptBytes;
    this.#keepsBeginning = keepsBeginning;
  }

  /** What is sent, unless the user has given a stream of their own. */
  get content(): RequestBody {
    return this.#content;
  }

  /** A stream of the user's is sent. */
  get isOwn(): boolean {
    return this.#own !== undefined;
  }

  get #isRequestStream(): boolean {
    return this.#content === 'stream' && hasBody(this.#req);
  }

  /** Sends another body, such as the one that a provider has edited. */
  replace(content: RequestBody): void {
    this.#content = content;
  }

  /** Sends a stream of the user's instead of the request's body. */
  takeOwn(own: OwnBody): void {
    this.#content = 'stream';
    this.#own = own;
  }

  /** Reads the body into memory if all of it has arrived. */
  takeWhole(): void {
    if (this.#content === 'stream') this.#content = takeWhole(this.#req, this.keptBytes) ?? 'stream';
  }

  /** Whether a connection that turns out to be dead is no loss. */
  get canBeSentAgain(): boolean {
    if (!this.#isRequestStream || this.#own !== undefined) return true;
    const { 'content-length': length } = this.#req.headers;
    // A copy of one of unknown length is kept as far as it is small.
    return length === undefined || Number(length) <= Math.max(this.keptBytes ?? 0, STALE_LIMIT);
  }

  /** The stream is one that the proxy has made or knows of. */
  isKnown(stream: unknown): boolean {
    return stream === this.#held || stream === this.#own?.stream;
  }

  /**
   * A stand-in for the body, which flows only when the upstream request is there: httpxy pipes the body to the target of
   * `forward` earlier, and what has flowed by then would not reach the upstream.
   */
  hold(): Readable {
    this.#held = new PassThrough();
    return this.#held;
  }

  /**
   * The upstream request is there: the body flows from here on.
   *
   * @param mayBeStale the request may fail since its connection is dead, and would be sent once more
   * @param limit in bytes
   */
  start(mayBeStale: boolean, limit: number, onTooLarge: () => void): void {
    this.#hasStarted = true;
    const held = this.#held;
    const req = this.#req;
    if (held !== undefined) readAsBytes(req, () => req.pipe(held));
    if (!this.#isRequestStream) return;
    const kept = Math.max(this.keptBytes ?? 0, mayBeStale ? STALE_LIMIT : 0);
    if (kept > 0) this.#capture = new BodyCapture(req, kept);
    if (this.#keepsBeginning) this.#beginning = new BodyBeginning(req, ASKED_LIMIT);
    if (knownSize(req, this.#content) > limit) onTooLarge();
    else if (limit < Number.POSITIVE_INFINITY) this.#stopLimit = limitBody(req, limit, onTooLarge);
  }

  /** The beginning of what was sent, without a content coding; `undefined` where it is not known. */
  get beginning(): Buffer | undefined {
    if (this.#own !== undefined) return undefined;
    const content = this.#content;
    const isCoded = codingOf(this.#req.headers['content-encoding']) !== undefined;
    if (!(content instanceof ReplayedBody)) return isCoded ? undefined : this.#beginning?.bytes;
    const bytes = content.decoded?.bytes ?? (content.encoded && isCoded ? undefined : content.bytes);
    return bytes?.subarray(0, ASKED_LIMIT);
  }

  /** The client, or a stream of the user's, has not delivered the whole body yet. */
  get isAwaited(): boolean {
    if (this.#own !== undefined) return !this.#own.stream.readableEnded && !this.#own.stream.destroyed;
    return this.#isRequestStream && !this.#req.complete;
  }

  /** The request's own stream is being sent: only what was copied of it can be sent again. */
  get #isFlowing(): boolean {
    return this.#hasStarted && this.#isRequestStream;
  }

  get isReplayable(): boolean {
    if (this.#own?.isShared) return false;
    return this.#isFlowing ? this.#capture?.isUsable === true : this.#content !== 'lost';
  }

  /**
   * The body to send in another attempt; `undefined` where it is lost. Nothing more is sent by this one.
   *
   * @param request what it was sent with
   */
  replay(request: ClientRequest | undefined): RequestBody | undefined {
    if (this.#own?.isShared) return undefined;
    if (!this.#isFlowing) return this.#content === 'lost' ? undefined : this.#content;
    this.#unpipe(request);
    return this.#capture?.take();
  }

  /** The head of the response is there. */
  onResponse(): void {
    // If attempts are repeated, the copy may still be needed; the end of the attempt stops it then.
    if (!this.keptBytes) this.#capture?.stop();
  }

  /** Lets go of the body, since there will be no other attempt. */
  forget(): void {
    this.#content = 'lost';
    this.#beginning?.stop();
    this.#beginning = undefined;
    this.#capture?.stop();
  }

  /** The attempt is over. The rest of an upload has to go on flowing. */
  abort(request: ClientRequest | undefined): void {
    this.#capture?.stop();
    this.#beginning?.stop();
    this.#stopLimit?.();
    this.#held?.destroy();
    // By hand, since httpxy's pipe stops the flow when it notices.
    this.#unpipe(request);
  }

  #unpipe(request: ClientRequest | undefined): void {
    if (request !== undefined) this.#req.unpipe(this.#held ?? request);
  }
}
