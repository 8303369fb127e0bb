import type { IncomingMessage } from 'node:http';
import { type BodySource, bodySource } from '../fast-path/body-in-memory.js';

/** What is sent upstream: the request's own stream, bytes in its place, or nothing, since the body is lost. */
export type RequestBody = 'stream' | ReplayedBody | 'lost';

/** A request body that is sent from memory, since the request's own stream has been read already. */
export class ReplayedBody {
  /** What its content coding stands for, and which one that is, where it was undone to be read. */
  decoded: { readonly bytes: Buffer; readonly coding: string } | undefined;

  constructor(
    readonly bytes: Buffer,
    /** The bytes are still in the request's Content-Encoding. */
    readonly encoded: boolean,
    /** Where the bytes are not in the charset that the request names. */
    readonly contentType?: string,
  ) {}

  /**
   * Makes the fields of a request those of these bytes. It is the request's own fields that every request made from it
   * copies (the upstream's, that of `forward`, those after redirects): with a length that is not its own, the rest of one
   * would be taken for the next request.
   */
  describeIn({ headers }: IncomingMessage): void {
    const hadBody = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
    delete headers['transfer-encoding'];
    if (hadBody || this.bytes.length > 0) headers['content-length'] = String(this.bytes.length);
    if (!this.encoded) delete headers['content-encoding'];
    // Another attempt may have sent what was made of it.
    else if (this.decoded !== undefined) headers['content-encoding'] = this.decoded.coding;
    if (this.contentType !== undefined) headers['content-type'] = this.contentType;
  }

  /** What httpxy is given to send, as often as so many requests are made of it. */
  toSource(requests: number): BodySource {
    return bodySource(this.bytes, requests);
  }
}

/** The size of a request body in bytes, as far as it is known before it is read. */
export function knownSize(req: IncomingMessage, body: RequestBody): number {
  return body instanceof ReplayedBody ? body.bytes.length : Number(req.headers['content-length'] ?? 0);
}
