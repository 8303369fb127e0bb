import type { IncomingMessage } from 'node:http';
import { type BodySource, bodySource } from '../fast-path/body-in-memory.js';

/** What is sent upstream: the request's own stream, bytes in its place, or nothing, since the body was consumed. */
export type RequestBody = 'stream' | ReplayedBody | 'lost';

/** A request body that is sent from memory, in the place of the request's own stream, which has been read already. */
export class ReplayedBody {
  /** The bytes without their content coding, and the coding, where the body was decoded to be edited. */
  decoded: { readonly bytes: Buffer; readonly coding: string } | undefined;

  constructor(
    readonly bytes: Buffer,
    /** Whether the bytes are still in the request's Content-Encoding. */
    readonly encoded: boolean,
    /** The Content-Type to send, where the bytes are not in the charset that the request names. */
    readonly contentType?: string,
  ) {}

  /**
   * Makes the headers of a request describe these bytes. Every request that is made from it (the upstream's, that of `forward`, those
   * behind redirects) copies these headers: with a wrong length, the rest of its body would be taken for the next request.
   */
  describeIn({ headers }: IncomingMessage): void {
    const hadBody = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
    delete headers['transfer-encoding'];
    if (hadBody || this.bytes.length > 0) headers['content-length'] = String(this.bytes.length);
    if (!this.encoded) delete headers['content-encoding'];
    // An earlier attempt may have sent an edited body, without a coding.
    else if (this.decoded !== undefined) headers['content-encoding'] = this.decoded.coding;
    if (this.contentType !== undefined) headers['content-type'] = this.contentType;
  }

  /** @param requests how many requests are made of this source; then it forgets the bytes */
  toSource(requests: number): BodySource {
    return bodySource(this.bytes, requests);
  }
}

/** The size of a request body in bytes, as far as it is known before it is read. */
export function knownSize(req: IncomingMessage, body: RequestBody): number {
  return body instanceof ReplayedBody ? body.bytes.length : Number(req.headers['content-length'] ?? 0);
}
