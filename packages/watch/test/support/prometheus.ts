/** A real Prometheus that scrapes a watch each second. */

import type { ExecutionContext } from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Watch } from '../../src/index.ts'
import { contentType } from '../../src/prometheus.ts'

/** A series of the answer to an instant query. */
export interface Sample {
  readonly metric: Readonly<Record<string, string>>
  readonly value: readonly [number, string]
}

export interface Rule {
  readonly name: string
  readonly query: string
  /** `ok`, `err`, or `unknown` before it was evaluated. */
  readonly health: string
  readonly lastError?: string
}

export interface Prometheus {
  query(expr: string): Promise<readonly Sample[]>
  rules(): Promise<readonly Rule[]>
}

/** Starts it, and waits until it has scraped what `metrics()` returns, as the job `cio`. */
export async function startPrometheus(
  t: ExecutionContext,
  watching: Watch,
  ruleFiles: readonly URL[] = [],
): Promise<Prometheus> {
  const exporter = createServer((_, response) => {
    response.setHeader('content-type', contentType)
    response.end(watching.metrics())
  }).listen(0, '127.0.0.1')
  t.teardown(() => exporter.close())
  await once(exporter, 'listening')
  const { port } = exporter.address() as AddressInfo
  const folder = await mkdtemp(join(tmpdir(), 'cio-prometheus-'))
  const config = join(folder, 'prometheus.yml')
  const target = { targets: [`127.0.0.1:${port}`] }
  await writeFile(
    config,
    // JSON is YAML.
    JSON.stringify({
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      rule_files: ruleFiles.map((file) => fileURLToPath(file)),
      scrape_configs: [{ job_name: 'cio', static_configs: [target] }],
    }),
  )
  const own = await freePort()
  const prometheus = spawn(
    'prometheus',
    [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${own}`,
    ],
    { stdio: 'ignore' },
  )
  t.teardown(async () => {
    if (prometheus.exitCode === null) {
      prometheus.kill()
      await once(prometheus, 'exit')
    }
    await rm(folder, { recursive: true, force: true })
  })
  /** Undefined while it starts. */
  const ask = async <Data>(path: string): Promise<Data | undefined> => {
    const response = await fetch(`http://127.0.0.1:${own}/api/v1/${path}`).catch(() => undefined)
    // 503 while it starts.
    if (!response || response.status === 503) return undefined
    const { data, error } = (await response.json()) as { data?: Data; error?: string }
    if (error !== undefined) throw new Error(`${path}: ${error}`)
    return data
  }
  const query = async (expr: string): Promise<readonly Sample[]> => {
    const path = `query?query=${encodeURIComponent(expr)}`
    return (await ask<{ readonly result: readonly Sample[] }>(path))?.result ?? []
  }
  while ((await query('cio_connection_active')).length === 0) {
    if (prometheus.exitCode !== null) throw new Error('Prometheus does not run')
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return {
    query,
    async rules() {
      const data = await ask<{ readonly groups: readonly { readonly rules: Rule[] }[] }>('rules')
      return data!.groups.flatMap(({ rules }) => rules)
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
