/** Names that other packages, or earlier versions, have for something that is here: how to say it. */
const EXPLAINED = new Map([
  ['baseurl', "The API's address is `target`, without the `/v1` that clients have in their paths"],
  ['base_url', "The API's address is `target`, without the `/v1` that clients have in their paths"],
  ['url', 'The address is `target`'],
  ['host', 'The address is `target`'],
  ['endpoint', 'The address is `target`'],
  ['proxytable', 'It is called `router` since http-proxy-middleware 1'],
  ['retries', 'Write `retry: { maxRetries: 2 }`'],
  ['maxretries', 'Write `retry: { maxRetries: 2 }`'],
  [
    'key',
    'The key is `apiKey` of a provider, such as openai({ apiKey }), and that of a client certificate `ssl: { key }`',
  ],
  ['apikey', 'The key is `apiKey` of a provider, such as openai({ apiKey })'],
  ['api_key', 'The key is `apiKey` of a provider, such as openai({ apiKey })'],
]);

/** How far a name may be from the one that was meant: one mistake in three letters, and no more than three. */
const reach = (name: string): number => Math.min(3, Math.floor(name.length / 3));

/** What to do about a name that is not known, as a sentence behind the message; empty where nothing is like it. */
export function suggestionFor(name: string, known: readonly string[]): string {
  const lower = name.toLowerCase();
  const other = known
    .map((candidate) => ({ candidate, away: distance(lower, candidate.toLowerCase()) }))
    .sort((a, b) => a.away - b.away)[0];
  const explained = EXPLAINED.get(lower);
  // Another case of letters is a slip; a name that is known from elsewhere is none, whatever it looks like.
  if (explained !== undefined && other?.away !== 0) return `. ${explained}`;
  return other !== undefined && other.away <= reach(other.candidate) ? `. Did you mean \`${other.candidate}\`?` : '';
}

/** How many letters were added, left out, replaced, or swapped with the next (the optimal string alignment distance). */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const isSame = a[i - 1] === b[j - 1];
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row[j] = Math.min(
        (row[j - 1] as number) + 1,
        (last[j] as number) + 1,
        (last[j - 1] as number) + (isSame ? 0 : 1),
        isSwapped ? (before[j - 2] as number) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    before = last;
    last = row;
  }
  return last[b.length] as number;
}
