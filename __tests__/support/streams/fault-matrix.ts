import type { SseProxyErrorCode } from '../../../lib/index.js';
import type { Fault, Phase } from '../servers/faulty-upstream.js';

/** What comes of a fault in a phase. */
export type Cell =
  /** The client is answered with this, and its connection goes on. `unseen`: nothing was asked of the upstream. */
  | { status: 502 | 504; code: SseProxyErrorCode; unseen?: true }
  /** The client's connection is cut behind what has come. */
  | { status: 200; code: SseProxyErrorCode }
  | { impossible: string };

const unreachable: Cell = { status: 502, code: 'UPSTREAM_UNREACHABLE', unseen: true };
const noTls: Cell = { status: 502, code: 'UPSTREAM_TLS_FAILED' };
const closedEarly: Cell = { status: 502, code: 'UPSTREAM_CLOSED' };
const notHttp: Cell = { status: 502, code: 'UPSTREAM_INVALID_RESPONSE' };
const late: Cell = { status: 504, code: 'UPSTREAM_TIMEOUT' };
const truncated: Cell = { status: 200, code: 'UPSTREAM_TRUNCATED' };
const silent: Cell = { status: 200, code: 'UPSTREAM_TIMEOUT' };

const connected: Cell = { impossible: 'a connection that is there cannot be refused' };
const resolved: Cell = { impossible: 'a name is not looked up again once there is a connection' };
const headless: Cell = { impossible: 'no head has said how long the body is' };

const behindTheHead: Record<Fault, Cell> = {
  refused: connected,
  reset: truncated,
  'no such name': resolved,
  'TLS failure': truncated,
  stall: silent,
  garbage: truncated,
  'short body': truncated,
  'early close': truncated,
  'half-closed': truncated,
};

/** What comes of every fault in every phase. */
export const MATRIX: Record<Phase, Record<Fault, Cell>> = {
  connect: {
    refused: unreachable,
    reset: closedEarly,
    'no such name': unreachable,
    'TLS failure': { ...noTls, unseen: true },
    stall: { status: 504, code: 'UPSTREAM_CONNECT_TIMEOUT', unseen: true },
    garbage: notHttp,
    'short body': headless,
    'early close': closedEarly,
    'half-closed': closedEarly,
  },
  upload: {
    refused: connected,
    reset: closedEarly,
    'no such name': resolved,
    'TLS failure': noTls,
    stall: late,
    garbage: notHttp,
    // Of an answer that does not wait for the rest of the request.
    'short body': truncated,
    'early close': closedEarly,
    'half-closed': closedEarly,
  },
  'before the head': {
    refused: connected,
    reset: closedEarly,
    'no such name': resolved,
    'TLS failure': noTls,
    stall: late,
    garbage: notHttp,
    'short body': headless,
    'early close': closedEarly,
    'half-closed': closedEarly,
  },
  'before the first event': behindTheHead,
  'in the middle of an event': behindTheHead,
  'between events': behindTheHead,
  'before the terminator': behindTheHead,
  'before the last chunk': behindTheHead,
};

/** How each ends in the summary. */
export const OUTCOMES: { [code in SseProxyErrorCode]?: string } = {
  UPSTREAM_UNREACHABLE: 'upstream-error',
  UPSTREAM_TLS_FAILED: 'upstream-error',
  UPSTREAM_CLOSED: 'upstream-error',
  UPSTREAM_INVALID_RESPONSE: 'upstream-error',
  UPSTREAM_CONNECT_TIMEOUT: 'timeout',
  UPSTREAM_TIMEOUT: 'timeout',
  UPSTREAM_TRUNCATED: 'upstream-truncated',
};
