import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks', // the addon holds process-wide state (threads, RNG): one process a file
    maxWorkers: 2,
    testTimeout: 400_000, // a busy machine may be many times slower; nothing but hanging is meant
    hookTimeout: 400_000,
  },
});
