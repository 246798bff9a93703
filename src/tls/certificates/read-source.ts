/** Reads a file or a pipe that an option names, without waiting for ever. */

import { type FileHandle, constants, open } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'

const pipeTimeout = 10_000
const pipeSize = 16 * 1024 * 1024
const pause = 20

/**
 * The contents of a file. Also those of a pipe, such as the `<(…)` of a shell, up to 16 MiB that
 * come within 10 seconds. Throws for a device, which may have no end.
 */
export async function readSource(path: string): Promise<Buffer> {
  // Otherwise opening a pipe would wait for its writer, in one of the few threads of Node that all
  // files and all look-ups of names share.
  const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  try {
    const stats = await file.stat()
    if (stats.isFIFO()) return await readPipe(file)
    // Node has words of its own for a directory.
    if (stats.isFile() || stats.isDirectory()) return await file.readFile()
    throw new Error('it is neither a file nor a pipe')
  } finally {
    await file.close()
  }
}

async function readPipe(file: FileHandle): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for (const begun = performance.now(); performance.now() - begun < pipeTimeout;) {
    const bytes = await readSome(file)
    if (bytes === undefined) {
      await setTimeout(pause)
      continue
    }
    if (bytes.length === 0) {
      if (size === 0) throw new Error('it is a pipe that nothing is written to')
      return Buffer.concat(chunks)
    }
    chunks.push(bytes)
    size += bytes.length
    if (size > pipeSize) throw new Error(`more than ${pipeSize} bytes came from the pipe`)
  }
  throw new Error(`the pipe did not end within ${pipeTimeout} ms`)
}

/** The bytes that have arrived: none at the end, undefined if the writer is still busy. */
async function readSome(file: FileHandle): Promise<Buffer | undefined> {
  try {
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(65_536) })
    return buffer.subarray(0, bytesRead)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return undefined
    throw error
  }
}
