/** Many devices in one process, which go to another instance at once when theirs is gone. */

import { type Socket, connect } from 'node:net'

export type Command =
  | { readonly dial: readonly string[]; readonly ports: readonly number[] }
  | { readonly move: readonly number[] }
  | { readonly report: true }

/** The devices that are registered, and what has happened to them. */
export interface Report {
  readonly registered: number
  /** Connections that have ended. */
  readonly ended: number
  /** Attempts that were refused, or ended before the device was registered. */
  readonly failed: number
  /** Messages that have arrived, besides the registration. */
  readonly messages: number
  /** Names whose revision did not rise with a new registration, or that are not confirmed. */
  readonly wrong: readonly string[]
}

const retryDelay = 200
const revisions = new Map<string, number>()
const wrong: string[] = []
const open = new Map<string, Socket>()
let ports: readonly number[] = []
let turn = 0
let ended = 0
let failed = 0
let messages = 0

/** Connects, and again when the connection ends; fulfils when it is registered. */
function dial(name: string): Promise<void> {
  return new Promise((registered) => {
    const socket = connect(ports[turn++ % ports.length]!, '127.0.0.1')
    let rest = ''
    let isKnown = false
    socket.write(`${JSON.stringify(name)}\n`)
    socket.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop()!
      for (const line of lines) {
        if (isKnown) messages += 1
        else note(name, line)
        isKnown = true
        open.set(name, socket)
        registered()
      }
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      if (isKnown) ended += 1
      else failed += 1
      if (open.get(name) === socket) open.delete(name)
      const again = (): void => void dial(name).then(registered)
      if (isKnown) again()
      else setTimeout(again, retryDelay * (0.5 + Math.random()))
    })
  })
}

function note(name: string, line: string): void {
  const { revision, isConfirmed } = JSON.parse(line) as { revision: number; isConfirmed: boolean }
  if (!isConfirmed || revision <= (revisions.get(name) ?? 0)) wrong.push(name)
  revisions.set(name, revision)
}

async function obey(command: Command): Promise<unknown> {
  if ('move' in command) {
    ports = command.move
    return undefined
  }
  if ('dial' in command) {
    ;({ ports } = command)
    const left = [...command.dial]
    const worker = async (): Promise<void> => {
      for (let name = left.pop(); name !== undefined; name = left.pop()) await dial(name)
    }
    await Promise.all(Array.from({ length: 100 }, worker))
    return undefined
  }
  return { registered: open.size, ended, failed, messages, wrong } satisfies Report
}

process.on('message', ({ id, command }: { id: number; command: Command }) => {
  void obey(command).then((result) => process.send!({ id, result }))
})
process.on('disconnect', () => process.exit())
process.send!({ id: 0, result: 'ready' })
