import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const source = (path: string): string => fileURLToPath(new URL(`./src/${path}`, import.meta.url))

// A folder for the gate, which adds the figures of all runs up.
const results = process.env.TEST_RESULTS

export default defineConfig({
  // Tests import the package as its users do, and run on the sources.
  resolve: {
    alias: [
      { find: /^after-jobs$/, replacement: source('index.ts') },
      { find: /^after-jobs\/(\w+)$/, replacement: source('$1/index.ts') },
    ],
  },
  test: {
    // A test that was left out or left alone is a failure, not a green line.
    allowOnly: false,
    passWithNoTests: false,
    reporters: results
      ? ['default', ['json', { outputFile: `${results}/${process.version}-${process.pid}.json` }]]
      : ['default'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: 20_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['tests/**/*.test.ts'],
          exclude: ['tests/architecture.test.ts', 'tests/{browser,cli,examples,bench,package}/**'],
        },
      },
      { extends: true, test: { name: 'architecture', include: ['tests/architecture.test.ts'] } },
      {
        // Examples and benchmarks run as their reader would run them: on the build, in processes of their own, undisturbed.
        extends: true,
        test: {
          name: 'programs',
          include: ['tests/{browser,cli,examples,bench}/**/*.test.ts'],
          globalSetup: 'tests/package/fresh-build.ts',
          fileParallelism: false,
          sequence: { groupOrder: 1 },
          testTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'package',
          include: ['tests/package/**/*.test.ts'],
          globalSetup: ['tests/package/fresh-build.ts', 'tests/package/setup.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
})
