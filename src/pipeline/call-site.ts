/** The call site of a function in the application. */

import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'

// Skipped lines: the error's first line, this function, and the calling method.
const framesAbove = 3

/** The file and line that called the method that calls this, relative to the working directory. */
export function callSite(): string {
  const { stackTraceLimit } = Error
  // With source maps each frame costs time. The limit cannot be set if the intrinsics are frozen.
  Reflect.set(Error, 'stackTraceLimit', Math.min(stackTraceLimit, framesAbove))
  const frame = new Error().stack?.split('\n')[framesAbove] ?? ''
  Reflect.set(Error, 'stackTraceLimit', stackTraceLimit)
  // `at name (place)`, or `at place`; a place may have spaces and brackets in it.
  const [, place] = /^ *at .*? \((.+)\)$/.exec(frame) ?? /^ *at (?:async )?(.+)$/.exec(frame) ?? []
  const [, url, line] = /^(.+):(\d+):\d+$/.exec(place ?? '') ?? []
  if (url === undefined) return 'unknown'
  const file = url.startsWith('file:') ? fileURLToPath(url) : url
  return `${relative(process.cwd(), file)}:${line}`
}
