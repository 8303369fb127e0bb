import main from './jest.config.js';

/** The tests with a real browser and a real front, which `.ci/run` installs. @type {import('jest').Config} */
export default {
  ...main,
  displayName: 'system',
  testMatch: ['<rootDir>/__tests__/system/**/*.test.ts'],
  testPathIgnorePatterns: [],
};
