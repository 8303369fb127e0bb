// @ts-check
/**
 * What is drawn: a chart for each thing that a user asks, from a figure or two of a scenario.
 *
 * @type {{ name: string, title: string, note: string, scenario: string, figures: string[], of?: 'value' | 'added', missing?: string }[]}
 */
export const CHARTS = [
  {
    name: 'latency',
    title: 'Latency added to an event',
    note: '50 streams of 50 events per second, p50 and p99',
    scenario: 'token-pace-50',
    figures: ['p50', 'p99'],
    of: 'added',
  },
  {
    name: 'cpu',
    title: 'CPU time per event',
    note: '50 streams of 50 events per second',
    scenario: 'token-pace-50',
    figures: ['CPU per event'],
  },
  {
    name: 'memory',
    title: 'Memory per open stream',
    note: 'of 1,000 silent streams; in brackets how many were served',
    scenario: 'open-1000',
    figures: ['memory per stream'],
  },
  {
    name: 'abort',
    title: 'From a client that leaves to the close of its stream upstream',
    note: 'silent streams, p50 and p99',
    scenario: 'abort-silent',
    figures: ['p50', 'p99'],
    missing: 'not within a second',
  },
];
