// Reads charts (a JSON list of texts on standard input) with Mermaid's own parser, and tells what it made of each.
import { readFileSync } from 'node:fs'

const modules = process.argv[2]
// It cleans HTML in a browser's document, of which there is none here: names are taken as they are.
const { default: purify } = await import(`${modules}/dompurify/dist/purify.es.mjs`)
Object.assign(purify, { addHook() {}, sanitize: (text) => text })
const { default: mermaid } = await import(`${modules}/mermaid/dist/mermaid.core.mjs`)

const found = []
for (const text of JSON.parse(readFileSync(0, 'utf8'))) {
  try {
    await mermaid.parse(text)
    const { db } = await mermaid.mermaidAPI.getDiagramFromText(text)
    const tasks = db.getTasks().map(({ section, task, active, crit, done, startTime, endTime }) => {
      return { section, name: task.trim(), active: !!active, crit: !!crit, done: !!done, begin: +startTime, end: +endTime }
    })
    found.push({ title: db.getDiagramTitle(), sections: db.getSections(), tasks })
  } catch (error) {
    found.push({ error: error.message })
  }
}
process.stdout.write(JSON.stringify(found))
