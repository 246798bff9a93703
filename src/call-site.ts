/** Where in the application something was called. */

import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'

// The error's own line, this function, and the method that asks.
const framesAbove = 3

/** The file and line that called the method that calls this, relative to the working directory. */
export function callSite(): string {
  const frame = new Error().stack?.split('\n')[framesAbove] ?? ''
  const [, url, line] = /((?:file:\/\/)?[^()\s]+):(\d+):\d+\)?$/.exec(frame) ?? []
  if (url === undefined) return 'unknown'
  const file = url.startsWith('file:') ? fileURLToPath(url) : url
  return `${relative(process.cwd(), file)}:${line}`
}
