/** Closers of what a test has opened, called by {@link closeAll}. */
const open: (() => Promise<void> | void)[] = [];

/** Registers something to close after the test. */
export function onCleanUp(close: () => Promise<void> | void): void {
  open.push(close);
}

/** For `afterEach`: closes everything, the last opened first. */
export async function closeAll(): Promise<void> {
  for (const close of open.splice(0).reverse()) await close();
}
