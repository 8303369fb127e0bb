import { ClientRequest, type IncomingMessage } from 'node:http';
import { StringDecoder } from 'node:string_decoder';
import { isDecoderEmpty } from '../fast-path/node-internals.js';
import { replaceMethod } from '../fast-path/replace-method.js';

type Listener = (...args: unknown[]) => void;

const READERS = Symbol('readers');

type SharedMessage = IncomingMessage & { [READERS]?: BodyReaders };

/**
 * Has the proxy read a message in bytes, whatever encoding those who read it beside the proxy have asked for, or are going to: hooks
 * and middleware. They get the strings that they want. For messages of which others have got hold.
 *
 * @param failed is told what a listener of theirs throws, which would end the process
 */
export function shareBody(message: IncomingMessage, failed: (cause: unknown) => void): void {
  (message as SharedMessage)[READERS] ??= new BodyReaders(message, failed);
}

/** The listeners of `data` that are added meanwhile are the proxy's own, and get bytes. */
export function readAsBytes<T>(message: IncomingMessage, addListeners: () => T): T {
  const readers = (message as SharedMessage)[READERS];
  return readers === undefined ? addListeners() : readers.asOwn(addListeners);
}

/**
 * Nobody but the proxy is handed anything, and the message does not flow, until it is called back: what was looked at can be put
 * back, and be everybody's then.
 */
export function readAlone(message: IncomingMessage): () => void {
  const readers = (message as SharedMessage)[READERS];
  // With a listener of `readable` a message flows for nobody.
  const hold = (): void => {};
  message.on('readable', hold);
  if (readers !== undefined) readers.isAlone = true;
  return () => {
    message.removeListener('readable', hold);
    if (readers === undefined) return;
    readers.isAlone = false;
    // For those who have looked in vain.
    process.nextTick(() => message.emit('readable'));
  };
}

/** The same as `read`, in bytes. */
export function readBytes(message: IncomingMessage, size?: number): Buffer | null {
  const readers = (message as SharedMessage)[READERS];
  return readers === undefined ? message.read(size) : readers.read(size);
}

/** A piece of a request whose encoding may have been set where nobody here could know of it. */
export function bytesOf(chunk: Buffer | string, req: IncomingMessage): Buffer {
  return typeof chunk === 'string' ? Buffer.from(chunk, req.readableEncoding ?? 'utf8') : chunk;
}

/** All who listen to the `data` of a message: Node knows but one encoding for all of them. */
class BodyReaders {
  /** The others are not handed anything. */
  isAlone = false;
  readonly #message: IncomingMessage;
  readonly #failed: (cause: unknown) => void;
  readonly #read: IncomingMessage['read'];
  /** The proxy's own listeners. */
  readonly #own = new Set<unknown>();
  /** What the others want, if it is not bytes. */
  #decoder: StringDecoder | undefined;
  /** In which the message itself hands over its bytes. */
  #encoding: BufferEncoding | undefined;
  /** What the others were handed last. */
  #text: string | undefined;

  constructor(message: IncomingMessage, failed: (cause: unknown) => void) {
    this.#message = message;
    this.#failed = failed;
    this.#read = message.read;
    const { emit, pipe, readableEncoding } = message;
    if (readableEncoding) this.#undo(readableEncoding);
    replaceMethod(message, 'setEncoding', (encoding) => {
      this.#decode(encoding);
      return message;
    });
    replaceMethod(message, 'read', (size?: number) => this.#readForOthers(size));
    replaceMethod(message, 'pipe', (destination, options) => {
      const start = (): typeof destination => pipe.call(message, destination, options) as typeof destination;
      // A request is httpxy's to pipe.
      return (destination as unknown) instanceof ClientRequest ? this.asOwn(start) : start();
    });
    replaceMethod(message, 'emit', (event: string | symbol, ...args: unknown[]) => {
      try {
        if (event === 'data' && this.#isSplit) return this.#hand(args[0] as Buffer | string);
        if (event === 'end') this.#flush();
        return Reflect.apply(emit, message, [event, ...args]);
      } catch (cause) {
        this.#failed(cause);
        return true;
      }
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
    // Of no size it is Node's own way to ask for more, and where there is no more, to end: nothing could be put back.
    if (this.isAlone && (size !== 0 || isEmpty)) return null;
    this.#text = undefined;
    const bytes = this.read(size);
    if (bytes === null) return isEmpty ? this.#flush() : null;
    // Where it failed it was not handed out meanwhile.
    return this.#text ?? this.#decoder?.write(bytes) ?? bytes;
  }

  /** Not all get the same. */
  get #isSplit(): boolean {
    return this.#decoder !== undefined || this.isAlone;
  }

  /** The message has an encoding, which Node cannot take back. */
  #undo(encoding: BufferEncoding): void {
    const message = this.#message;
    const { setEncoding, unshift } = message;
    this.#decode(encoding);
    this.#encoding = encoding;
    // Of latin1 no byte is lost. But what has come by now is decoded already, or waits for the rest of its character.
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

  /** Hands the others what they were not handed yet, since it is less than a character. */
  #flush(): string | null {
    const text = this.#decoder?.end() || null;
    if (text !== null) this.#call((isOwn) => (isOwn ? '' : text));
    return text;
  }

  /** Calls the listeners with what is theirs, if there is anything. One that throws keeps it from nobody. */
  #call(chunkFor: (isOwn: boolean) => Buffer | string): void {
    for (const listener of this.#message.rawListeners('data')) {
      const chunk = chunkFor(this.#own.has(listener));
      if (chunk.length === 0) continue;
      try {
        (listener as Listener).call(this.#message, chunk);
      } catch (cause) {
        this.#failed(cause);
      }
    }
  }
}
