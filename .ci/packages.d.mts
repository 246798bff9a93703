export function folderOf(url: string, below?: string, system?: { windows?: boolean }): string

export function npmCommand(process: {
  platform: string
  execPath: string
  npmExecPath?: string | undefined
}): { command: string; before: string[]; shell: boolean }

interface Locked {
  version?: string
  dev?: boolean
  optional?: boolean
  devOptional?: boolean
}

export function missingPackages(
  wanted: Record<string, Locked>,
  present: Record<string, Locked>,
  which: { dev: boolean },
): string[]
