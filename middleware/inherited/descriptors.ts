/** The listening sockets that systemd or a parent passed to this process: `sd_listen_fds(3)`. */

import type { Cluster } from 'node:cluster'
import { CioError } from '../../src/errors.ts'

/** One descriptor that was passed to this process. */
export interface Descriptor {
  readonly fd: number
  /** From `LISTEN_FDNAMES`; if no names were passed, `unknown`, as in systemd. */
  readonly name: string
}

/** The first descriptor after standard input, output and error. */
const first = 3
const variables = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID'] as const

let passed: readonly Descriptor[] | undefined
const taken = new Set<number>()

/**
 * The descriptors that were passed to this process. The first call removes the variables from the
 * environment, so that no child process uses them by mistake.
 *
 * @throws `ERR_CIO_INHERITED`: the variables are malformed, or were meant for another process
 */
export function passedDescriptors(): readonly Descriptor[] {
  if (passed) return passed
  passed = readDescriptors(process.env, descriptorOwner())
  for (const name of variables) delete process.env[name]
  return passed
}

/**
 * Reads the variables that are meant for the process with this id.
 *
 * @throws `ERR_CIO_INHERITED`
 */
export function readDescriptors(env: NodeJS.ProcessEnv, pid: number): readonly Descriptor[] {
  const { LISTEN_FDS: fds, LISTEN_PID: meantFor, LISTEN_FDNAMES: fdNames } = env
  if (fds === undefined) return []
  if (meantFor === undefined) {
    throw inheritedError(
      'LISTEN_FDS is set and LISTEN_PID is not, so the descriptors may be those of another process; the parent must set both',
    )
  }
  if (meantFor !== String(pid)) {
    throw inheritedError(
      `LISTEN_PID is ${meantFor}, and this process is ${pid}: the descriptors were passed to another process; \`npm start\`, \`tsx\` and \`npx\` start Node as a process of its own, so let the unit run \`node\` itself, with \`--import tsx\` for TypeScript`,
    )
  }
  const count = Number(fds)
  if (!/^\d{1,6}$/.test(fds)) throw inheritedError(`LISTEN_FDS is no count: ${fds}`)
  const names = fdNames === undefined ? undefined : fdNames.split(':')
  if (names && names.length !== count) {
    throw inheritedError(`LISTEN_FDS is ${count}, and LISTEN_FDNAMES has ${names.length} names`)
  }
  return Array.from({ length: count }, (_, index) => ({
    fd: first + index,
    name: names?.[index] ?? 'unknown',
  }))
}

/** The next descriptor of this name that no server of this process uses. */
export function nextDescriptor(
  descriptors: readonly Descriptor[],
  name: string | undefined,
): Descriptor {
  const names = [...new Set(descriptors.map((one) => one.name))]
  const passedNames = names.map((one) => `\`${one}\``).join(', ')
  if (name === undefined && names.length > 1) {
    throw inheritedError(
      `descriptors of several names were passed: ${passedNames}; choose one with \`name\``,
    )
  }
  const wanted = name ?? names[0]!
  const ofName = descriptors.filter((one) => one.name === wanted)
  if (ofName.length === 0) {
    throw inheritedError(
      `no descriptor of the name \`${wanted}\` was passed, but: ${passedNames}; set FileDescriptorName= in the socket unit`,
    )
  }
  const free = ofName.find(({ fd }) => !taken.has(fd))
  if (free) return free
  throw inheritedError(
    `every descriptor of the name \`${wanted}\` has been used by a server of this process: ${ofName.map(({ fd }) => fd).join(', ')}; the parent must pass one for each \`listen()\``,
  )
}

/** Marks a descriptor as used. Node closes it with its server, so it can be used only once. */
export function take(descriptor: Descriptor): void {
  taken.add(descriptor.fd)
}

/** The process whose descriptors count: in a worker of `node:cluster`, the primary opens them. */
export function descriptorOwner(): number {
  const { isWorker } = process.getBuiltinModule('node:cluster') as unknown as Cluster
  return isWorker ? process.ppid : process.pid
}

export function inheritedError(message: string, cause?: unknown): CioError {
  return new CioError('ERR_CIO_INHERITED', `inherited: ${message}`, { cause })
}
