let pair: Promise<{ key: string; cert: string }> | undefined;

/** A certificate for `localhost` and 127.0.0.1 that nobody trusts, the same for all tests of a file. */
export function certificate(): Promise<{ key: string; cert: string }> {
  pair ??= selfSigned();
  return pair;
}

async function selfSigned(): Promise<{ key: string; cert: string }> {
  // It takes a third of a second to load, and most tests need none.
  const { generate } = await import('selfsigned');
  const made = await generate([{ name: 'commonName', value: 'localhost' }], {
    keyType: 'ec',
    algorithm: 'sha256',
    extensions: [
      {
        name: 'subjectAltName',
        altNames: [
          { type: 2, value: 'localhost' },
          { type: 7, ip: '127.0.0.1' },
        ],
      },
    ],
  });
  return { key: made.private, cert: made.cert };
}
