// A warning fails the test that causes it, and AWS's SDK warns of each version of Node that it is going to leave behind.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';

/** @type {import('jest').Config} */
export default {
  displayName: 'main',
  testEnvironment: 'node',
  testMatch: ['<rootDir>/__tests__/**/*.test.ts'],
  // These need Debian's chromium, nginx, haproxy, caddy and redis-server, or minutes: see jest.system.config.js.
  testPathIgnorePatterns: ['<rootDir>/__tests__/system/'],
  // Where the cores are busy otherwise, Jest's five seconds are too short for tests that ask hundreds of times.
  testTimeout: 30_000,
  // Jest would leave one core idle, which on two is half of them.
  maxWorkers: '100%',
  // ES modules in TypeScript: swc strips the types, and `.js` in an import means the `.ts` file.
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },
};
