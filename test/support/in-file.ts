/** Tests of several files in one process: `scripts/build-tests.ts` makes them so. */

import type { TestFn } from 'ava'

/** `test`, with the name of its file before each title, as AVA has it for a file of its own. */
export function inFile(test: TestFn, name: string): TestFn {
  return new Proxy(test, {
    apply: (target, _this, [first, ...rest]: unknown[]) => {
      const title = typeof first === 'string' ? `${name} › ${first}` : first
      return Reflect.apply(target, undefined, [title, ...rest])
    },
    get: (target, key) => {
      const member: unknown = Reflect.get(target, key)
      return typeof member === 'function' ? inFile(member as TestFn, name) : member
    },
  })
}
