// node .ci/release.mjs v1.2.3
//
// Whether this is what a tag says it is: both packages have its version, and CHANGELOG.md a section
// of it with a date. A version before its first release, as 1.0.0-alpha.0, goes by the section of 1.0.0.

import { readFileSync } from 'node:fs'

const [tag = ''] = process.argv.slice(2)
const version = tag.replace(/^v/, '')
const root = new URL('..', import.meta.url)
const read = (path) => readFileSync(new URL(path, root), 'utf8')
const wrong = []

if (!/^v\d+\.\d+\.\d+(-[\w.]+)?$/.test(tag)) wrong.push(`${tag} is no tag of a version: v1.2.3`)
for (const path of ['package.json', 'packages/create-cio/package.json']) {
  const { version: has } = JSON.parse(read(path))
  if (has !== version) wrong.push(`${path} has version ${has}, not ${version}`)
}
const [number, pre] = version.split('-')
const heading = read('CHANGELOG.md')
  .split('\n')
  .find((line) => line.startsWith(`## ${number},`))
if (!heading) wrong.push(`CHANGELOG.md has no section \`## ${number}, <date>\``)
else if (!pre && !/, \d{4}-\d{2}-\d{2}$/.test(heading)) wrong.push(`${heading}: no date`)

for (const line of wrong) console.error(line)
process.exitCode = wrong.length > 0 ? 1 : 0
