import type { Provider } from '../../types/provider.js';

/** How one family of APIs speaks: how its answers are read, and how it tells of a failure. */
export type Dialect = Required<Pick<Provider, 'read' | 'errorEvent' | 'errorBody' | 'errorStatus'>> &
  Pick<Provider, 'errorBodyOf' | 'formatOf' | 'heartbeat'> & {
    /** The dialect that this one stands for at the paths of a provider that speaks it. */
    variantOf?: Dialect;
  };
