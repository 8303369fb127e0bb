import type { Provider } from '../../types/provider.js';

/** How one family of APIs speaks: how its answers are read, and how it tells of a failure. */
export type Dialect = Required<Pick<Provider, 'read' | 'errorEvent' | 'errorBody' | 'errorStatus'>> &
  Pick<Provider, 'errorBodyOf' | 'formatOf' | 'heartbeat'>;
