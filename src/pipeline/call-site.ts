/** Where in the application something was called. */

import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'

// The error's own line, this function, and the method that asks.
const framesAbove = 3

/** The file and line that called the method that calls this, relative to the working directory. */
export function callSite(): string {
  const frame = new Error().stack?.split('\n')[framesAbove] ?? ''
  // `at name (place)`, or `at place`; a place may have spaces and brackets in it.
  const [, place] = /^ *at .*? \((.+)\)$/.exec(frame) ?? /^ *at (?:async )?(.+)$/.exec(frame) ?? []
  const [, url, line] = /^(.+):(\d+):\d+$/.exec(place ?? '') ?? []
  if (url === undefined) return 'unknown'
  const file = url.startsWith('file:') ? fileURLToPath(url) : url
  return `${relative(process.cwd(), file)}:${line}`
}
