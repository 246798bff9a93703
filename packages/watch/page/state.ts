/** The state of the page: by server-sent events, and by asking for what is not in them. */

import { useEffect, useRef, useState } from 'preact/hooks'
import type { Column, Table } from '../src/history.ts'
import type { Snapshot } from '../src/snapshot.ts'

export type View = Snapshot & { readonly actions?: boolean }
export type Row = Readonly<Record<Column | 'time', number | null>>

/** How the page is connected. */
export type Link = 'connecting' | 'live' | 'lost'

/** Fetches JSON of this server. */
export async function ask<Answer>(path: string): Promise<Answer> {
  const response = await fetch(path)
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
  return (await response.json()) as Answer
}

/** The snapshot of each second, until it is paused. */
export function useLive(isPaused: boolean): {
  readonly view: View | undefined
  readonly rows: readonly Row[]
  readonly link: Link
} {
  const [view, setView] = useState<View>()
  const [rows, setRows] = useState<readonly Row[]>([])
  const [link, setLink] = useState<Link>('connecting')
  const paused = useRef(isPaused)
  paused.current = isPaused

  useEffect(() => {
    let actions = false
    const first = async (): Promise<void> => {
      const answer = await ask<View>('snapshot')
      actions = answer.actions ?? false
      setView((known) => ({ ...(known ?? answer), actions }))
    }
    const before = async (): Promise<void> => {
      const earlier = rowsOf(await ask<Table>('history?of=seconds'))
      // A slow answer has seconds that have come as events meanwhile.
      const last = earlier.at(-1)?.time ?? 0
      setRows((later) => [...earlier, ...later.filter(({ time }) => (time ?? 0) > last)])
    }
    // The head says that the link is lost; once it is back, what was missed is asked for.
    const askForAll = (): void => void Promise.allSettled([first(), before()])
    askForAll()
    let isLost = false
    const source = new EventSource('events')
    source.addEventListener('open', () => {
      setLink('live')
      if (isLost) askForAll()
      isLost = false
    })
    source.addEventListener('error', () => {
      setLink('lost')
      isLost = true
    })
    source.addEventListener('message', ({ data }: MessageEvent<string>) => {
      if (paused.current) return
      const { snapshot, row } = JSON.parse(data) as { snapshot: View; row: Row }
      setView({ ...snapshot, actions })
      if (row.time !== null) setRows((before) => joined(before, row))
    })
    return () => source.close()
  }, [])
  return { view, rows, link }
}

const mostRows = 300

function joined(before: readonly Row[], row: Row): readonly Row[] {
  if (before.at(-1)?.time === row.time) return before
  return [...before, row].slice(-mostRows)
}

export function rowsOf({ time, ...columns }: Table): Row[] {
  return time.map((at, index) => {
    const values = Object.entries(columns).map(([name, column]) => [name, column[index] ?? null])
    return { time: at, ...Object.fromEntries(values) } as Row
  })
}

/** The answer of a path, asked again when `key` changes: once at a time, however slow the server is. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as with `ask`: the caller knows the path
export function useAsked<Answer>(path: string, key: unknown): Answer | undefined {
  const [answer, setAnswer] = useState<Answer>()
  const asking = useRef<{ readonly path: string; again: boolean } | undefined>(undefined)
  useEffect(() => {
    if (asking.current?.path === path) {
      asking.current.again = true
      return
    }
    const mine = { path, again: true }
    asking.current = mine
    const keepAsking = async (): Promise<void> => {
      while (mine.again) {
        mine.again = false
        // The head says that the link is lost.
        const got = await ask<Answer>(path).catch(() => undefined)
        if (asking.current !== mine) return
        if (got !== undefined) setAnswer(() => got)
      }
      asking.current = undefined
    }
    void keepAsking()
  }, [path, key])
  return answer
}
