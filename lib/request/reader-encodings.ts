import { EventEmitter } from 'node:events';
import { ClientRequest, type IncomingMessage } from 'node:http';
import { StringDecoder } from 'node:string_decoder';
import { isDecoderEmpty } from '../fast-path/node-internals.js';
import { replaceMethod } from '../fast-path/replace-method.js';
import { runHook } from '../util/hooks.js';

type Listener = (...args: unknown[]) => unknown;

const READERS = Symbol('readers');

type SharedMessage = IncomingMessage & { [READERS]?: BodyReaders };

/**
 * Lets the proxy read a message in bytes, and hooks and middleware beside it in whatever encoding they have asked for, or are going to
 * ask for. For messages that others have got hold of.
 *
 * @param failed is told what one of their listeners throws or rejects with, which would end the process
 */
export function shareBody(message: IncomingMessage, failed: (cause: unknown) => void): void {
  (message as SharedMessage)[READERS] ??= new BodyReaders(message, failed);
}

/** Adds listeners of `data` that are the proxy's own, and get bytes. */
export function readAsBytes<T>(message: IncomingMessage, addListeners: () => T): T {
  const readers = (message as SharedMessage)[READERS];
  return readers === undefined ? addListeners() : readers.asOwn(addListeners);
}

/**
 * Stops a message for everybody but the proxy, until the returned function is called: what the proxy has looked at meanwhile can be put
 * back for all readers.
 */
export function readAlone(message: IncomingMessage): () => void {
  const readers = (message as SharedMessage)[READERS];
  // With a listener of `readable` a message does not flow.
  const hold = (): void => {};
  message.on('readable', hold);
  if (readers !== undefined) readers.isAlone = true;
  return () => {
    message.removeListener('readable', hold);
    if (readers === undefined) return;
    readers.isAlone = false;
    // Those who have looked in vain look again.
    process.nextTick(() => message.emit('readable'));
  };
}

/** `message.read(size)`, in bytes. */
export function readBytes(message: IncomingMessage, size?: number): Buffer | null {
  const readers = (message as SharedMessage)[READERS];
  return readers === undefined ? message.read(size) : readers.read(size);
}

/** The bytes of a chunk of a request whose encoding may have been set before the proxy could know of it. */
export function bytesOf(chunk: Buffer | string, req: IncomingMessage): Buffer {
  return typeof chunk === 'string' ? Buffer.from(chunk, req.readableEncoding ?? 'utf8') : chunk;
}

/** All who listen to the `data` of a message, each with an encoding: Node knows only one encoding for all of them. */
class BodyReaders {
  /** Only the proxy's own listeners are called. */
  isAlone = false;
  readonly #message: IncomingMessage;
  readonly #failed: (cause: unknown) => void;
  readonly #read: IncomingMessage['read'];
  /** The proxy's own listeners. */
  readonly #own = new Set<unknown>();
  /** The encoding that the others have asked for; `undefined` for bytes. */
  #decoder: StringDecoder | undefined;
  /** The encoding of what the message itself emits, where that is strings. */
  #encoding: BufferEncoding | undefined;
  /** What the others got last. */
  #text: string | undefined;

  constructor(message: IncomingMessage, failed: (cause: unknown) => void) {
    this.#message = message;
    this.#failed = failed;
    this.#read = message.read;
    const { emit, pipe, readableEncoding } = message;
    // Others may have replaced it, to observe what is emitted.
    const isPlain = emit === EventEmitter.prototype.emit;
    if (readableEncoding) this.#undo(readableEncoding);
    replaceMethod(message, 'setEncoding', (encoding) => {
      this.#decode(encoding);
      return message;
    });
    replaceMethod(message, 'read', (size?: number) => this.#readForOthers(size));
    replaceMethod(message, 'pipe', (destination, options) => {
      const start = (): typeof destination => pipe.call(message, destination, options) as typeof destination;
      // httpxy pipes the request.
      if ((destination as unknown) instanceof ClientRequest) return this.asOwn(start);
      // One that outlives the message has a listener of its own.
      if (options?.end !== false) this.#guard(destination);
      return start();
    });
    replaceMethod(message, 'emit', (event: string | symbol, ...args: unknown[]) => {
      try {
        if (event === 'data' && this.#isSplit) return this.#hand(args[0] as Buffer | string);
        if (event === 'end') this.#flush();
        if (event === 'error' || !isPlain) return Reflect.apply(emit, message, [event, ...args]);
      } catch (cause) {
        this.#failed(cause);
        return true;
      }
      const listeners = message.rawListeners(event);
      for (const listener of listeners) this.#callOne(listener as Listener, args);
      return listeners.length > 0;
    });
  }

  asOwn<T>(addListeners: () => T): T {
    const others = new Set<unknown>(this.#message.rawListeners('data'));
    const result = addListeners();
    for (const listener of this.#message.rawListeners('data')) if (!others.has(listener)) this.#own.add(listener);
    return result;
  }

  read(size?: number): Buffer | null {
    const chunk: Buffer | string | null = this.#read.call(this.#message, size);
    return chunk === null ? null : this.#bytes(chunk);
  }

  #readForOthers(size: number | undefined): Buffer | string | null {
    const { complete, readableLength } = this.#message;
    const isEmpty = complete && readableLength === 0;
    // `read(0)` is how Node asks for more, or notices the end: it takes nothing that would have to be put back.
    if (this.isAlone && (size !== 0 || isEmpty)) return null;
    this.#text = undefined;
    const bytes = this.read(size);
    if (bytes === null) return isEmpty ? this.#flush() : null;
    // `#hand` has set the text, unless it failed.
    return this.#text ?? this.#decoder?.write(bytes) ?? bytes;
  }

  /** Whether the proxy and the others get different chunks. */
  get #isSplit(): boolean {
    return this.#decoder !== undefined || this.isAlone;
  }

  /** Turns the message's encoding, which Node cannot take back, into one that loses no byte. */
  #undo(encoding: BufferEncoding): void {
    const message = this.#message;
    const { setEncoding, unshift } = message;
    this.#decode(encoding);
    this.#encoding = encoding;
    // latin1 loses no byte. But what has come by now is decoded already, or waits for the rest of its character.
    if (message.readableLength === 0 && isDecoderEmpty(message)) {
      this.#encoding = 'latin1';
      setEncoding.call(message, 'latin1');
    }
    replaceMethod(message, 'unshift', (chunk: Buffer | string) => {
      unshift.call(message, this.#bytes(chunk).toString(this.#encoding), this.#encoding);
    });
  }

  #decode(encoding: BufferEncoding): void {
    this.#decoder = new StringDecoder(encoding);
  }

  #bytes(chunk: Buffer | string): Buffer {
    return typeof chunk === 'string' ? Buffer.from(chunk, this.#encoding) : chunk;
  }

  #hand(chunk: Buffer | string): boolean {
    const bytes = this.#bytes(chunk);
    if (!this.isAlone) this.#text = this.#decoder?.write(bytes);
    const others = this.isAlone ? '' : (this.#text ?? bytes);
    this.#call((isOwn) => (isOwn ? bytes : others));
    return true;
  }

  /** At the end, hands the others what was held back since it is an incomplete character. */
  #flush(): string | null {
    const text = this.#decoder?.end() || null;
    if (text !== null) this.#call((isOwn) => (isOwn ? '' : text));
    return text;
  }

  /** Calls each listener with its chunk, unless that is empty. A listener that throws does not keep the others from theirs. */
  #call(chunkFor: (isOwn: boolean) => Buffer | string): void {
    for (const listener of this.#message.rawListeners('data')) {
      const chunk = chunkFor(this.#own.has(listener));
      if (chunk.length > 0) this.#callOne(listener as Listener, [chunk]);
    }
  }

  /** A stream of others' that the message is piped into, such as a file: an error that nobody listens to would end the process. */
  #guard(destination: NodeJS.WritableStream): void {
    if (destination === process.stdout || destination === process.stderr) return;
    destination.on('error', (cause: unknown) => {
      if (destination.listenerCount('error') === 1) this.#failed(cause);
    });
  }

  /** A listener may also be async. */
  #callOne(listener: Listener, args: readonly unknown[]): void {
    void runHook(
      'a listener',
      () => Reflect.apply(listener, this.#message, args),
      (_message, cause) => this.#failed(cause),
    );
  }
}
