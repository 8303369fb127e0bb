const swc = {
  jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
  module: { type: 'es6' },
  sourceMaps: 'inline',
};

/** What both projects share: ES modules, TypeScript stripped by swc, `.js` specifiers that mean `.ts` files. */
const base = {
  testEnvironment: 'node',
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  transform: { '^.+\\.ts$': ['@swc/jest', swc] },
};

/** @type {import('jest').Config} */
export default {
  projects: [
    // Runs anywhere that Node runs.
    { ...base, displayName: 'main', testMatch: ['<rootDir>/__tests__/**/*.test.ts'], testPathIgnorePatterns: ['/system/'] },
    // Needs Debian's chromium and nginx; `.ci/run` installs them.
    { ...base, displayName: 'system', testMatch: ['<rootDir>/__tests__/system/**/*.test.ts'] },
  ],
};
