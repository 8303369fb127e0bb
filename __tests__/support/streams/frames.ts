import type { EventData, EventFormat } from '../../../lib/types/format.js';

/*
 * A binary format of length-prefixed frames, such as `application/vnd.amazon.eventstream` is one: four bytes of length, one of kind, one
 * of the length of the type, the type, and the payload. The length counts what follows it.
 */

export const FRAMES_TYPE = 'application/vnd.frames';

const EVENT = 0;
const COMMENT = 1;

function frameOf(kind: number, type: string, payload: string): Buffer {
  const body = Buffer.concat([Buffer.from([kind, Buffer.byteLength(type)]), Buffer.from(type), Buffer.from(payload)]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

/** The frame of an event, and that of a comment. */
export const eventFrame = (data: string, event = ''): Buffer => frameOf(EVENT, event, data);
export const commentFrame = (comment: string): Buffer => frameOf(COMMENT, '', comment);

export const frames: EventFormat = {
  mediaTypes: [FRAMES_TYPE],
  isText: false,
  endsWithStream: false,
  scanner() {
    let headerBytes = 0;
    let rest = 0;
    return (chunk, from) => {
      let i = from;
      while (i < chunk.length) {
        if (headerBytes < 4) {
          rest = rest * 256 + (chunk[i] as number);
          headerBytes += 1;
          i += 1;
        } else {
          const taken = Math.min(rest, chunk.length - i);
          rest -= taken;
          i += taken;
        }
        if (headerBytes === 4 && rest === 0) {
          headerBytes = 0;
          return i;
        }
      }
      return -1;
    };
  },
  parser: () => (block) => {
    if (block[4] !== EVENT) return undefined;
    const payload = 6 + (block[5] as number);
    const found: EventData = { data: block.toString('utf8', payload) };
    const event = block.toString('utf8', 6, payload);
    return event === '' ? found : { ...found, event };
  },
  encode: ({ data, event }) => (data === undefined ? Buffer.alloc(0) : eventFrame(data, event)),
  encodeComment: commentFrame,
};

/** Events whose bytes look like the line ends and byte order marks of text formats. */
export const FRAMES: readonly Buffer[] = [
  eventFrame('{"text":"zażółć\\n🙂"}', 'delta'),
  eventFrame('\ufeffdata: 1\n\n\r\n\r\n'),
  commentFrame('\n\n'),
  eventFrame('', 'ping'),
  eventFrame('{"usage":{"in":1,"out":2}}', 'end'),
];
